package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// container is what the manifests of deploy/ say of one.
type container struct {
	Name            string   `yaml:"name"`
	Args            []string `yaml:"args"`
	RestartPolicy   string   `yaml:"restartPolicy"`
	SecurityContext struct {
		RunAsUser    int  `yaml:"runAsUser"`
		NonRoot      bool `yaml:"runAsNonRoot"`
		Escalation   bool `yaml:"allowPrivilegeEscalation"`
		Capabilities struct {
			Drop, Add []string
		} `yaml:"capabilities"`
	} `yaml:"securityContext"`
}

// pod are the containers of a manifest, by name.
type pod map[string]container

func (p pod) args(name string) []string { return slices.Clone(p[name].Args) }

// manifest reads a pod of deploy/.
func manifest(t *testing.T, name string) pod {
	t.Helper()
	var m struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
		Spec       struct {
			Init       []container `yaml:"initContainers"`
			Containers []container `yaml:"containers"`
		} `yaml:"spec"`
	}
	read(t, name, &m)
	if m.APIVersion != "v1" || m.Kind != "Pod" {
		t.Fatalf("%s is %s %s, want v1 Pod", name, m.APIVersion, m.Kind)
	}
	p := pod{}
	for _, c := range append(m.Spec.Init, m.Spec.Containers...) {
		p[c.Name] = c
	}
	return p
}

func read(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
	if err == nil {
		err = yaml.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// takes fails where a command would not take the arguments.
func takes(t *testing.T, args []string) {
	t.Helper()
	cmd, rest, err := newRoot("").Find(args)
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if err != nil || cmd.Name() != args[0] {
		t.Errorf("understudy %s: %v", strings.Join(args, " "), err)
	}
}

// The rules must skip the very user that understudy runs as, and lead to its port;
// only who sets them has a capability.
func TestDeployKubernetes(t *testing.T) {
	p := manifest(t, "kubernetes/sidecar.yaml")
	rules, own, app := p["understudy-rules"], p["understudy"], p["app"]
	takes(t, rules.Args)
	takes(t, own.Args)
	if s := own.SecurityContext; s.RunAsUser != 65532 || !s.NonRoot || s.Escalation || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) || len(s.Capabilities.Add) > 0 {
		t.Errorf("understudy has %+v, want user 65532 without any capability", s)
	}
	if s := rules.SecurityContext; s.Escalation || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) || !slices.Equal(s.Capabilities.Add, []string{"NET_ADMIN"}) {
		t.Errorf("the rules' container has %+v, want NET_ADMIN alone", s)
	}
	if own.RestartPolicy != "Always" {
		t.Errorf("understudy's restartPolicy = %q, want Always: else the pod waits for its end", own.RestartPolicy)
	}
	if app.SecurityContext.RunAsUser == 65532 || len(app.SecurityContext.Capabilities.Add) > 0 {
		t.Errorf("the app has %+v, want another user without capabilities", app.SecurityContext)
	}
	wantPair(t, rules.Args, own.Args)
}

func wantPair(t *testing.T, rules, own []string) {
	t.Helper()
	for _, want := range []string{"--to=15001", "--skip-uid=65532", "--skip-port=9900"} {
		if !slices.Contains(rules, want) {
			t.Errorf("%q lacks %s", rules, want)
		}
	}
	if !slices.Contains(own, "--transparent=0.0.0.0:15001") {
		t.Errorf("%q does not listen where the rules lead", own)
	}
}

func TestDeployCompose(t *testing.T) {
	type service struct {
		User    string   `yaml:"user"`
		Drop    []string `yaml:"cap_drop"`
		Add     []string `yaml:"cap_add"`
		Network string   `yaml:"network_mode"`
		Command []string `yaml:"command"`
		Depends map[string]struct {
			Condition string `yaml:"condition"`
		} `yaml:"depends_on"`
	}
	var m struct {
		Services map[string]service
	}
	read(t, "compose/compose.yaml", &m)
	own, rules, app := m.Services["understudy"], m.Services["understudy-rules"], m.Services["app"]
	takes(t, own.Command)
	takes(t, rules.Command)
	wantPair(t, rules.Command, own.Command)
	if own.User != "65532:65532" || len(own.Add) > 0 || !slices.Equal(own.Drop, []string{"ALL"}) {
		t.Errorf("understudy %+v, want user 65532 without any capability", own)
	}
	if !slices.Equal(rules.Add, []string{"NET_ADMIN"}) || !slices.Equal(rules.Drop, []string{"ALL"}) {
		t.Errorf("the rules' service %+v, want NET_ADMIN alone", rules)
	}
	for name, s := range map[string]service{"understudy-rules": rules, "app": app} {
		if s.Network != "service:understudy" {
			t.Errorf("%s has the network %q, want understudy's", name, s.Network)
		}
	}
	if got := app.Depends["understudy-rules"].Condition; got != "service_completed_successfully" {
		t.Errorf("the app waits for %q, want the rules to be there", got)
	}
}
