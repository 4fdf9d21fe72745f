package config

import (
	"net/netip"
	"strings"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/redact"
)

// Key describes one key of the configuration.
type Key struct {
	Name    string // "admin.token_file"
	Env     string // "UNDERSTUDY_ADMIN_TOKEN_FILE"
	Flag    string // "--admin"; "" where only --set KEY=VALUE reaches it
	Default string // as it is written; "" for none

	secret bool
	set    func(*Config, input)
}

// keys are all, in the order of the documentation.
var keys = []Key{
	key("seed", "--seed", "", scalar(func(c *Config) *uint64 { return &c.Seed }, parseSeed)),
	key("mode", "", "proxy", scalar(func(c *Config) *Mode { return &c.Mode }, parseEnum(ModeProxy, ModeRecord, ModeReplay))),
	key("listen", "--forward, --reverse, --tcp, --transparent", "", setListen),
	key("capture", "--capture", "auto", scalar(func(c *Config) *Capture { return &c.Capture }, parseEnum(CaptureAuto, CaptureNamespace, CaptureProxy))),
	key("publish", "--publish", "", list(func(c *Config) *[]Publish { return &c.Publish }, "ports such as 127.0.0.1:8080=80", parsePublish)),
	key("output", "-o", "", path(func(c *Config) *string { return &c.Output })),
	key("cassettes", "-f", "", paths(func(c *Config) *[]string { return &c.Cassettes })),
	key("on_miss", "--on-miss", "fail", scalar(func(c *Config) *OnMiss { return &c.OnMiss }, parseEnum(MissFail, MissForward, MissRecord))),
	key("timing", "--timing", "recorded", scalar(func(c *Config) *Timing { return &c.Timing }, parseEnum(TimingNone, TimingRecorded, TimingModel))),
	key("speed", "--speed", "1", scalar(func(c *Config) *float64 { return &c.Speed }, parseSpeed)),
	key("repeat", "--repeat", "sequence", scalar(func(c *Config) *Repeat { return &c.Repeat }, parseEnum(RepeatSequence, RepeatSample, RepeatLoop))),
	key("rules", "", "", section(func(c *Config) *Section { return &c.Rules }, wantList)),
	key("rule_files", "--rules", "", paths(func(c *Config) *[]string { return &c.RuleFiles })),
	key("match", "", "", decoded(func(c *Config) *cassette.Match { return &c.Match }, nil)),
	key("redaction", "", "", decoded(func(c *Config) *redact.Config { return &c.Redaction }, checkRedaction)),
	key("transparent.install_rules", "--install-rules", "false", scalar(func(c *Config) *bool { return &c.Transparent.InstallRules }, parseBool)),
	key("transparent.ports", "", "", list(func(c *Config) *[]Ports { return &c.Transparent.Ports }, "ports", parsePorts)),
	key("transparent.skip_ports", "", "22", list(func(c *Config) *[]Ports { return &c.Transparent.SkipPorts }, "ports", parsePorts)),
	key("transparent.skip", "", "", list(func(c *Config) *[]netip.Prefix { return &c.Transparent.Skip }, "networks", parseNetwork)),
	key("transparent.skip_uids", "", "", list(func(c *Config) *[]uint32 { return &c.Transparent.SkipUIDs }, "users", parseUID)),
	key("intercept.pass", "--pass", "", list(func(c *Config) *[]string { return &c.Intercept.Pass }, "hosts", parseHostPattern)),
	key("intercept.only", "", "", list(func(c *Config) *[]string { return &c.Intercept.Only }, "hosts", parseHostPattern)),
	key("intercept.ca_dir", "", "", path(func(c *Config) *string { return &c.Intercept.CADir })),
	key("upstream.insecure", "", "false", scalar(func(c *Config) *bool { return &c.Upstream.Insecure }, parseBool)),
	key("upstream.ca_file", "", "", path(func(c *Config) *string { return &c.Upstream.CAFile })),
	key("upstream.connect_to", "", "", setConnectTo),
	key("upstream.timeouts.connect", "", "10s", scalar(func(c *Config) *duration { return &c.Upstream.Timeouts.Connect }, parseDuration)),
	key("upstream.timeouts.tls", "", "10s", scalar(func(c *Config) *duration { return &c.Upstream.Timeouts.TLS }, parseDuration)),
	key("upstream.timeouts.response_header", "", "0s", scalar(func(c *Config) *duration { return &c.Upstream.Timeouts.ResponseHeader }, parseDuration)),
	key("upstream.timeouts.unacknowledged", "", "20s", scalar(func(c *Config) *duration { return &c.Upstream.Timeouts.Unacknowledged }, parseUnacknowledged)),
	key("upstream.timeouts.idle", "", "90s", scalar(func(c *Config) *duration { return &c.Upstream.Timeouts.Idle }, parseDuration)),
	key("admin.addr", "--admin", "127.0.0.1:0", scalar(func(c *Config) *string { return &c.Admin.Addr }, parseAdminAddr)),
	secret(key("admin.token", "", "", scalar(func(c *Config) *string { return &c.Admin.Token }, parseToken))),
	key("admin.token_file", "", "", path(func(c *Config) *string { return &c.Admin.TokenFile })),
	key("admin.allow_remote", "", "false", scalar(func(c *Config) *bool { return &c.Admin.AllowRemote }, parseBool)),
	key("admin.open_metrics", "", "false", scalar(func(c *Config) *bool { return &c.Admin.OpenMetrics }, parseBool)),
	key("admin.hosts", "", "", list(func(c *Config) *[]string { return &c.Admin.Hosts }, "host names", parseHostName)),
	key("log.level", "--log-level", "info", scalar(func(c *Config) *string { return &c.Log.Level }, parseEnum("debug", "info", "warn", "error"))),
	key("log.format", "--json", "console", scalar(func(c *Config) *string { return &c.Log.Format }, parseEnum("console", "json"))),
	key("log.access", "", "false", scalar(func(c *Config) *bool { return &c.Log.Access }, parseBool)),
	key("server_timing", "", "false", scalar(func(c *Config) *bool { return &c.ServerTiming }, parseBool)),
	key("link", "--link", "", section(func(c *Config) *Section { return &c.Link.Both }, wantSpec)),
	key("link.down", "--down", "", section(func(c *Config) *Section { return &c.Link.Down }, wantSpec)),
	key("link.up", "--up", "", section(func(c *Config) *Section { return &c.Link.Up }, wantSpec)),
	key("link.to", "--link-to", "", setLinkTo),
	key("link.classes", "", "", section(func(c *Config) *Section { return &c.Link.Classes }, wantClasses)),
	key("link.steps", "", "", section(func(c *Config) *Section { return &c.Link.Steps }, wantSteps)),
	key("link.engine", "--link-engine", "auto", scalar(func(c *Config) *LinkEngine { return &c.Link.Engine }, parseEnum(EngineAuto, EngineNetem, EngineTUN))),
	key("link.verify", "--verify", "false", scalar(func(c *Config) *bool { return &c.Link.Verify }, parseBool)),
	key("limits.body_memory", "", "1MiB", scalar(func(c *Config) *int64 { return &c.Limits.BodyMemory }, parseSize)),
	key("limits.queue_bytes", "", "64MiB", scalar(func(c *Config) *int64 { return &c.Limits.QueueBytes }, parseSize)),
	key("limits.head_bytes", "", "64KiB", scalar(func(c *Config) *int64 { return &c.Limits.HeadBytes }, parseSize)),
}

// shorthands are groups that may also be given as one scalar, and the key that
// the scalar then stands for.
var shorthands = map[string]string{"admin": "admin.addr", "link": "link"}

// envNames are the variables whose name is not simply the key's.
var envNames = map[string]string{"admin.addr": "UNDERSTUDY_ADMIN"}

func key(name, flag, def string, set func(*Config, input)) Key {
	env := envNames[name]
	if env == "" {
		env = "UNDERSTUDY_" + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
	}
	return Key{Name: name, Env: env, Flag: flag, Default: def, set: set}
}

func secret(k Key) Key {
	k.secret = true
	return k
}

func findKey(name string) (Key, bool) {
	for _, k := range keys {
		if k.Name == name {
			return k, true
		}
	}
	return Key{}, false
}

// children lists the names that may stand directly in a group ("" for the file
// itself), without repeats.
func children(group string) []string {
	prefix := ""
	if group != "" {
		prefix = group + "."
	}
	var names []string
	for _, k := range keys {
		rest, ok := strings.CutPrefix(k.Name, prefix)
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(rest, ".")
		if len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return names
}

func isGroup(name string) bool { return len(children(name)) > 0 }
