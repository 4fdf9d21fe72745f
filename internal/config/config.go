package config

import (
	"os"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/fixtures/redact"
)

// FileName is the configuration file's usual name.
const FileName = "understudy.yaml"

// Unread tells of a file of that name in the directory that understudy was started in,
// which nobody asked to read; "" where c came from a file, or there is none.
func (c *Config) Unread() string {
	if c.File != "" {
		return ""
	}
	if _, err := os.Stat(FileName); err != nil {
		return ""
	}
	return FileName + " is here and was not read: --config " + FileName + " reads it"
}

// Config is everything that can be set. Default gives the values of a run that
// sets nothing; the zero value is not a valid configuration. Paths that came
// from the file are relative to its directory and are joined with it here;
// all others are as they were given.
type Config struct {
	File string `key:"-"` // the file that was read; "" for none

	Seed      uint64     `key:"seed"` // the run's root seed; drawn by the app unless IsSet("seed")
	Mode      Mode       `key:"mode"`
	Listen    []Listener `key:"listen"`    // empty where none was named
	Capture   Capture    `key:"capture"`   // how a command is captured
	Publish   []Publish  `key:"publish"`   // ports of a captured command
	Output    string     `key:"output"`    // record's directory; "" lets the app choose
	Cassettes []string   `key:"cassettes"` // directories or files, in order of precedence
	OnMiss    OnMiss     `key:"on_miss"`
	Timing    Timing     `key:"timing"`
	Speed     float64    `key:"speed"` // factor on recorded times; above 0, 2 is twice as fast
	Repeat    Repeat     `key:"repeat"`

	Rules     Section        `key:"rules"`      // a YAML list, for package rules
	RuleFiles []string       `key:"rule_files"` // files and directories with rules
	Match     cassette.Match `key:"match"`      // beside what each cassette says of itself
	Redaction redact.Config  `key:"redaction"`

	Transparent  Transparent
	Intercept    Intercept
	Upstream     Upstream
	Admin        Admin
	Log          Log
	Link         Link
	Limits       Limits
	ServerTiming bool `key:"server_timing"` // name fired rules to the client in Server-Timing

	origins   map[string]Origin
	env       []string   // as given to Parse
	overrides []Override // likewise
}

// Mode is what a run does.
type Mode string

const (
	ModeProxy  Mode = "proxy"  // pass through, with rules and links
	ModeRecord Mode = "record" // pass through and keep
	ModeReplay Mode = "replay" // answer from cassettes
)

// OnMiss is what replay does with a request it has no answer to.
type OnMiss string

const (
	MissFail    OnMiss = "fail"
	MissForward OnMiss = "forward"
	MissRecord  OnMiss = "record" // forward, and record the answer
)

// Timing is the rhythm in which replay answers.
type Timing string

const (
	TimingNone     Timing = "none"     // at once
	TimingRecorded Timing = "recorded" // as it was recorded
	TimingModel    Timing = "model"    // drawn from the model fitted to the recording
)

// Repeat is how replay chooses where one request was recorded several times.
type Repeat string

const (
	RepeatSequence Repeat = "sequence" // in recorded order per client, then the last
	RepeatSample   Repeat = "sample"   // drawn with the run's seed
	RepeatLoop     Repeat = "loop"     // in recorded order, then again from the first
)

// Section is a part of the configuration that another package reads. The zero
// value means that it was not given.
type Section struct {
	File *place.File // for errors that point into it
	Node ast.Node
}

// IsZero reports whether the section was not given.
func (s Section) IsZero() bool { return s.Node == nil }

// Intercept says which TLS connections are opened, and with whose authority.
type Intercept struct {
	Pass  []string `key:"intercept.pass"`   // host patterns that pass uninspected
	Only  []string `key:"intercept.only"`   // host patterns; where given, all others pass
	CADir string   `key:"intercept.ca_dir"` // "" for the user's own
}

// Inspect reports whether TLS to host, a name or an address without its port, is
// to be opened. Pass wins over Only.
func (i *Intercept) Inspect(host string) bool {
	if i.Exempt(host) {
		return false
	}
	return len(i.Only) == 0 || matchAny(i.Only, host)
}

// Exempt reports whether host itself is to pass, whatever Only says.
func (i *Intercept) Exempt(host string) bool { return matchAny(i.Pass, host) }

// Upstream says how upstreams are reached.
type Upstream struct {
	Insecure bool   `key:"upstream.insecure"` // do not verify certificates
	CAFile   string `key:"upstream.ca_file"`  // PEM roots beside the system's; "" for none
	// ConnectTo maps host:port as asked for to the host:port that is dialled
	// instead. The Host field and the TLS server name stay.
	ConnectTo map[string]string `key:"upstream.connect_to"`
	Timeouts  Timeouts
}

// Timeouts bound the steps of an upstream round trip; 0 for no bound.
type Timeouts struct {
	Connect        time.Duration `key:"upstream.timeouts.connect"`
	TLS            time.Duration `key:"upstream.timeouts.tls"`
	ResponseHeader time.Duration `key:"upstream.timeouts.response_header"`
	// Unacknowledged is how long an upstream's machine may leave what was sent unacknowledged.
	Unacknowledged time.Duration `key:"upstream.timeouts.unacknowledged"`
	Idle           time.Duration `key:"upstream.timeouts.idle"` // how long an unused connection is kept
}

// Admin is the HTTP API.
type Admin struct {
	Addr        string   `key:"admin.addr"`         // host:port; "" when it is off
	Token       string   `key:"admin.token"`        // a secret; "" for one that is generated
	TokenFile   string   `key:"admin.token_file"`   // where the token is read from; "" for none
	AllowRemote bool     `key:"admin.allow_remote"` // Addr may be other than loopback
	OpenMetrics bool     `key:"admin.open_metrics"` // /metrics asks for no token
	Hosts       []string `key:"admin.hosts"`        // further names that the Host field may give
}

// Log is the log on standard error.
type Log struct {
	Level  string `key:"log.level"`  // debug, info, warn or error
	Format string `key:"log.format"` // console or json
	Access bool   `key:"log.access"` // one line an exchange
}

// Link is the condition of the client's link: each a profile's name, a SPEC such
// as delay=40ms,loss=0.5%, or a YAML mapping, for package shaping.
type Link struct {
	Both Section `key:"link"`
	Down Section `key:"link.down"` // toward the client
	Up   Section `key:"link.up"`   // toward the upstream
	// To has conditions of their own for some destinations, each a text DEST=SPEC; they
	// come before Classes.
	To []Section `key:"link.to"`
	// Classes are a YAML list of parts of the link with conditions of their own.
	Classes Section `key:"link.classes"`
	// Steps are a YAML list of how these change during the run, for package timeline.
	Steps Section `key:"link.steps"`
	// Engine is what shapes it.
	Engine LinkEngine `key:"link.engine"`
	// Verify holds what it does against what is asked before the command starts.
	Verify bool `key:"link.verify"`
}

// LinkEngine is what shapes a captured command's link.
type LinkEngine string

const (
	EngineAuto  LinkEngine = "auto"  // netem where the kernel has it and it can do what is asked, else tun
	EngineNetem LinkEngine = "netem" // the kernel's
	EngineTUN   LinkEngine = "tun"   // this process carries the packets, from one device to another
)

// Limits bound memory, in bytes.
type Limits struct {
	BodyMemory int64 `key:"limits.body_memory"` // of one body; larger ones go through a file
	QueueBytes int64 `key:"limits.queue_bytes"` // waiting for the recorder; beyond it recordings are dropped
	HeadBytes  int64 `key:"limits.head_bytes"`  // of one message head
}

// Default returns the configuration of a run that sets nothing.
func Default() *Config {
	return &Config{
		Mode:        ModeProxy,
		Capture:     CaptureAuto,
		OnMiss:      MissFail,
		Timing:      TimingRecorded,
		Speed:       1,
		Repeat:      RepeatSequence,
		Transparent: Transparent{SkipPorts: []Ports{{22, 22}}},
		Upstream: Upstream{Timeouts: Timeouts{
			Connect:        10 * time.Second,
			TLS:            10 * time.Second,
			Unacknowledged: 20 * time.Second,
			Idle:           90 * time.Second,
		}},
		Link:    Link{Engine: EngineAuto},
		Admin:   Admin{Addr: "127.0.0.1:0"},
		Log:     Log{Level: "info", Format: "console"},
		Limits:  Limits{BodyMemory: 1 << 20, QueueBytes: 64 << 20, HeadBytes: 64 << 10},
		origins: map[string]Origin{},
	}
}
