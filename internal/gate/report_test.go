package gate

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

func sampleReport() *Report {
	at := func(v float64) *float64 { return &v }
	r := &Report{OS: "linux", Arch: "amd64", CPUs: 2, Against: AgainstDirect, Budget: "gate.yaml", Block: time.Second, Level: 0.95, Seed: 42}
	good := ScenarioReport{Name: "reverse", Connections: 16, Pairs: 8, Requests: 240_000, Metrics: []Metric{
		{Name: "added_p50", Unit: UnitNanoseconds, Estimate: 81_234, Low: 78_000, High: 90_100, Limit: at(200e3), Line: 3, Pairs: []float64{78_000, 80_000, 81_234, 84_000, 90_100}},
		{Name: "p50_ratio", Unit: UnitRatio, Estimate: 1.41, Low: 1.38, High: 1.44},
		{Name: "throughput_ratio", Unit: UnitRatio, Estimate: 0.62, Low: 0.6, High: 0.65, Limit: at(0.4), AtLeast: true},
	}, Noise: []Noise{{Name: "p50", Estimate: 1.004, Low: 0.98, High: 1.03, Spread: 0.021}}}
	bad := ScenarioReport{Name: "forward <tls>", Connections: 1, Pairs: 32, Requests: 90_000, Metrics: []Metric{
		{Name: "added_p99", Unit: UnitNanoseconds, Estimate: 3_100_000, Low: 2_800_000, High: 3_300_000, Limit: at(2e6), Line: 7},
		{Name: "added_p50", Unit: UnitNanoseconds, Estimate: 190_000, Low: 150_000, High: 230_000, Limit: at(200e3)},
	}, Warnings: []string{"noise: two direct measurements differ by 18 % in p99"}}
	for _, s := range []*ScenarioReport{&good, &bad} {
		for i := range s.Metrics {
			s.Metrics[i].judge()
		}
	}
	cpu := Metric{Name: "cpu_per_request", Unit: UnitNanoseconds, Limit: at(150e3)}
	cpu.unmeasured("the proxy's process is unknown")
	bad.Metrics = append(bad.Metrics, cpu, Metric{Name: "rss", Unit: UnitBytes, Estimate: 30 << 20, Low: 29 << 20, High: 31 << 20, Measured: true})
	good.Latency = &Curve{At: CurveAt}
	for i := range CurveAt {
		good.Latency.Against = append(good.Latency.Against, time.Duration(50+i*i)*time.Microsecond)
		good.Latency.Proxied = append(good.Latency.Proxied, time.Duration(90+2*i*i)*time.Microsecond)
	}
	good.judge()
	bad.judge()
	r.Scenarios = []ScenarioReport{good, bad}
	r.Unused = []string{"reverse, 64 connections"}
	r.Skipped = []Skipped{{"captured", "this machine <has> no namespaces"}}
	r.judge()
	return r
}

func TestReports(t *testing.T) {
	r := sampleReport()
	for name, write := range map[string]func(io.Writer) error{
		"report.txt": r.WriteText, "report.json": r.WriteJSON, "report.xml": r.WriteJUnit,
		"report.github": r.WriteGitHub, "report.md": r.WriteMarkdown, "report.html": r.WriteHTML,
	} {
		var got bytes.Buffer
		if err := write(&got); err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s differs (rewrite with -update):\n%s", name, got.Bytes())
		}
	}
}

func TestJSONComesBack(t *testing.T) {
	var b bytes.Buffer
	r := sampleReport()
	r.WriteJSON(&b)
	var back Report
	d := json.NewDecoder(&b)
	d.DisallowUnknownFields()
	if err := d.Decode(&back); err != nil {
		t.Fatal(err)
	}
	if back.Verdict != Fail || len(back.Scenarios) != 2 || back.Scenarios[0].Metrics[1].Verdict != NotJudged || *back.Scenarios[0].Metrics[0].Limit != 200e3 {
		t.Errorf("came back as %+v", back)
	}
}

// What CI systems read: counts that agree with the cases, at most one outcome a case.
func TestJUnitIsWellFormed(t *testing.T) {
	var b bytes.Buffer
	if err := sampleReport().WriteJUnit(&b); err != nil {
		t.Fatal(err)
	}
	var got junitSuites
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	tests, failures, errs := 0, 0, 0
	for _, s := range got.Suites {
		for _, c := range s.Cases {
			tests++
			outcomes := 0
			for _, p := range []*junitProblem{c.Failure, c.Error, c.Skipped} {
				if p != nil {
					outcomes++
				}
			}
			if c.Failure != nil {
				failures++
			}
			if c.Error != nil {
				errs++
			}
			if outcomes > 1 || c.Name == "" || c.Class == "" {
				t.Errorf("case %+v", c)
			}
		}
	}
	if got.Tests != tests || got.Failures != failures || got.Errors != errs || failures != 1 || errs != 2 {
		t.Errorf("counts = %d, %d, %d, want %d tests, 1 failure, 2 errors", got.Tests, got.Failures, got.Errors, tests)
	}
}

func TestNothingJudgedIsSaid(t *testing.T) {
	r := &Report{Scenarios: []ScenarioReport{{Name: "reverse", Connections: 1, Metrics: []Metric{{Name: "added_p50", Measured: true}}}}}
	r.Scenarios[0].judge()
	r.judge()
	for name, write := range map[string]func(io.Writer) error{"text": r.WriteText, "JSON": r.WriteJSON, "GitHub": r.WriteGitHub, "Markdown": r.WriteMarkdown, "HTML": r.WriteHTML} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		if text := b.String(); strings.Contains(text, "pass\"") || strings.Contains(text, ": pass") || !strings.Contains(text, "judged") {
			t.Errorf("%s does not say that nothing was judged:\n%s", name, text)
		}
	}
}

// The page must be readable where nothing can be loaded, and say nothing that a
// name smuggled in.
func TestPageStandsAlone(t *testing.T) {
	r := sampleReport()
	r.Scenarios[1].Warnings = []string{`<script src="https://x.test/a.js"></script>`}
	var b bytes.Buffer
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script", "<link", "<img", "src=\"", "url(", "@import", "NaN", "Inf", "ZgotmplZ"} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("the page has %q", bad)
		}
	}
}
