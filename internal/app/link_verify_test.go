package app

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/shaping"
	"github.com/understudy-proxy/understudy/shaping/verify"
)

// restartable is a link that can begin anew, and counts how often it did.
type restartable struct {
	fakeLink
	restarts int
}

func (r *restartable) Restart() { r.restarts++ }

// doing is a prober for a link that does, exactly, what a spec says.
func doing(t *testing.T, spec string) prober {
	c, err := shaping.ParseSpec(spec)
	if err != nil {
		t.Fatal(err)
	}
	return func(_ context.Context, plans map[shaping.Direction]verify.Plan) (map[shaping.Direction]verify.Samples, error) {
		all := map[shaping.Direction]verify.Samples{}
		for d, p := range plans {
			s := verify.Samples{Sent: p.Probes, Over: p.Every * time.Duration(p.Probes), TrainSent: p.Train, TrainOver: p.TrainEvery * time.Duration(p.Train)}
			for i := range p.Probes {
				if int(float64(i+1)*c.Loss) == int(float64(i)*c.Loss) {
					s.Delays = append(s.Delays, c.Delay)
				}
			}
			for i := range p.Train {
				bits := 8 * (p.TrainSize + 14)
				s.Train = append(s.Train, verify.Arrival{At: time.Duration(i*bits) * time.Second / time.Duration(c.Rate), Size: p.TrainSize})
			}
			all[d] = s
		}
		return all, nil
	}
}

func verifying(t *testing.T, spec string) (p *parts, link *restartable, told *bytes.Buffer) {
	t.Helper()
	c, err := shaping.ParseSpec(spec)
	if err != nil {
		t.Fatal(err)
	}
	link, told = &restartable{}, &bytes.Buffer{}
	p = &parts{events: NewEvents(told, true)}
	p.shaped = &shaped{inForce: link, engine: config.EngineTUN, asked: linkAsked{link: shaping.Link{Down: c, Up: c}}}
	return p, link, told
}

const askedOfLink = "delay=20ms,loss=2%,rate=20mbit"

func TestVerifyAgrees(t *testing.T) {
	p, link, told := verifying(t, askedOfLink)
	if err := p.verifyBy(t.Context(), nil, doing(t, askedOfLink)); err != nil {
		t.Fatal(err)
	}
	if link.restarts != 1 {
		t.Errorf("the link began anew %d times, want once", link.restarts)
	}
	if r := p.shaped.verified; r == nil || !r.Agrees || r.Rounds != 1 || len(r.Rows) != 10 {
		t.Errorf("the report has %+v, want 10 rows of one round that agree", r)
	}
	if got := told.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"event":"link_verified"`) || !strings.Contains(got, `"agrees":true`) {
		t.Errorf("told %s", got)
	}
	if p.linkReport()["verified"] != p.shaped.verified {
		t.Error("the run's report does not have it")
	}
}

// leading writes down through which classes probes are led.
type leading []string

func (l *leading) Probe(class string) { *l = append(*l, class) }

// Each class is probed on its own, against what was asked of it, and one that does not do
// that is denied alone.
func TestVerifyClasses(t *testing.T) {
	p, link, told := verifying(t, askedOfLink)
	for _, class := range []string{"near", "far"} {
		how := map[string]string{"near": "delay=1ms", "far": "delay=80ms"}[class]
		c, err := shaping.ParseSpec(how)
		if err != nil {
			t.Fatal(err)
		}
		p.shaped.asked.classes = append(p.shaped.asked.classes, shaping.LinkClass{Name: class, Link: shaping.Link{Down: c, Up: c}})
	}
	var led leading
	does := map[string]prober{"": doing(t, askedOfLink), "near": doing(t, "delay=1ms"), "far": doing(t, "delay=80ms")}
	probe := func(ctx context.Context, plans map[shaping.Direction]verify.Plan) (map[shaping.Direction]verify.Samples, error) {
		class := ""
		if len(led) > 0 {
			class = led[len(led)-1]
		}
		return does[class](ctx, plans)
	}
	if err := p.verifyBy(t.Context(), &led, probe); err != nil {
		t.Fatal(err)
	}
	if want := (leading{"near", "far", ""}); !reflect.DeepEqual(led, want) || link.restarts != 1 {
		t.Errorf("probes were led through %q, and the link began anew %d times, want %q and once", led, link.restarts, want)
	}
	if got := told.String(); !strings.Contains(got, `"class":"far","direction":"up","what":"delay_p50","unit":"ms","asked":80,`) {
		t.Errorf("told %s", got)
	}
	led, does["far"] = nil, doing(t, "delay=40ms")
	err := p.verifyBy(t.Context(), &led, probe)
	if err == nil || !regexp.MustCompile(`(?m)^  class far\n  down +delay p10 +80\.00ms +40\.00ms .* disagree$`).MatchString(err.Error()) || strings.Count(err.Error(), "disagree") != 6 {
		t.Errorf("verifyBy = %v, want far to disagree", err)
	}
}

// What the link does otherwise than asked ends the run before the command, and is named.
func TestVerifyDisagrees(t *testing.T) {
	for is, want := range map[string]string{
		"delay=25ms,loss=2%,rate=20mbit": "delay p50  20.03ms  25.00ms",
		"delay=20ms,loss=4%,rate=20mbit": "loss       2.00%    4.00%",
		"delay=20ms,loss=2%,rate=18mbit": "rate       20mbit   18mbit",
	} {
		p, link, told := verifying(t, askedOfLink)
		probed := 0
		probe := doing(t, is)
		err := p.verifyBy(t.Context(), nil, func(ctx context.Context, plans map[shaping.Direction]verify.Plan) (map[shaping.Direction]verify.Samples, error) {
			probed++
			return probe(ctx, plans)
		})
		if err == nil {
			t.Errorf("%s: verify = nil, want an error", is)
			continue
		}
		for _, part := range []string{want, "disagree", "the command was not started"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v\nwant %q", is, err, part)
			}
		}
		if probed != 2 || link.restarts != 0 || !strings.Contains(told.String(), `"agrees":false`) {
			t.Errorf("%s: probed %d times, want twice; restarted %d times; told %s", is, probed, link.restarts, told)
		}
	}
}

// A link that disagrees only while the machine is busy has a second chance.
func TestVerifyAgain(t *testing.T) {
	p, _, _ := verifying(t, askedOfLink)
	first, then := doing(t, "delay=40ms,loss=2%,rate=20mbit"), doing(t, askedOfLink)
	probed := 0
	err := p.verifyBy(t.Context(), nil, func(ctx context.Context, plans map[shaping.Direction]verify.Plan) (map[shaping.Direction]verify.Samples, error) {
		if probed++; probed == 1 {
			return first(ctx, plans)
		}
		return then(ctx, plans)
	})
	if err != nil || probed != 2 || p.shaped.verified.Rounds != 2 {
		t.Errorf("verify = %v after %d rounds, want nil after 2", err, probed)
	}
}

func TestVerifyCannotProbe(t *testing.T) {
	p, link, _ := verifying(t, askedOfLink)
	broken := errors.New("no way through")
	fails := func(ctx context.Context, _ map[shaping.Direction]verify.Plan) (map[shaping.Direction]verify.Samples, error) {
		return nil, broken
	}
	if err := p.verifyBy(t.Context(), nil, fails); !errors.Is(err, broken) || link.restarts != 0 {
		t.Errorf("verify = %v, want %v", err, broken)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.verifyBy(ctx, nil, fails); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("verify = %v, want that it was interrupted", err)
	}
}
