package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/understudy-proxy/understudy/shaping"
)

// linkView is what is shown of a link.
type linkView struct {
	Link    string      `json:"link"`
	Kind    string      `json:"kind"`
	MTU     int         `json:"mtu"`
	Up      bool        `json:"up"`
	Qdiscs  []qdiscView `json:"qdiscs"`
	Classes []classView `json:"classes"`
	Lease   *leaseView  `json:"lease,omitempty"`
}

// leaseView is the lease under which understudy shapes a link.
type leaseView struct {
	Spec      string    `json:"spec"`
	StartedAt time.Time `json:"started_at"`
	EndsAt    time.Time `json:"ends_at,omitzero"`
	// Classes are what some destinations have on their own, in each direction.
	Classes []leasedView `json:"classes,omitempty"`
}

// leasedView is a class of a lease in one direction.
type leasedView struct {
	Name      string            `json:"name"`
	To        []string          `json:"to"`
	Direction shaping.Direction `json:"direction"`
	Spec      string            `json:"spec"` // "" where packets pass as they are
	Counters  shaping.Counters  `json:"counters"`
}

func (v *leaseView) tell(classes []shaping.ClassState) {
	for _, c := range classes {
		v.Classes = append(v.Classes, leasedView{c.Name, c.To, c.Direction, c.Conditions.String(), c.Counters})
	}
}

type qdiscView struct {
	Kind   string `json:"kind"`
	Handle string `json:"handle"`
	Parent string `json:"parent"`
	// Spec is netem's conditions as shape takes them.
	Spec string `json:"spec,omitempty"`
	// BitsPerSecond is tbf's rate.
	BitsPerSecond uint64           `json:"bits_per_second,omitempty"`
	Counters      shaping.Counters `json:"counters"`
}

type classView struct {
	Handle            string `json:"handle"`
	Parent            string `json:"parent"`
	BitsPerSecond     uint64 `json:"bits_per_second"`
	CeilBitsPerSecond uint64 `json:"ceil_bits_per_second"`
}

func viewOf(s shaping.State) linkView {
	v := linkView{Link: s.Interface.Name, Kind: s.Interface.Kind, MTU: s.Interface.MTU, Up: s.Interface.Up, Qdiscs: []qdiscView{}, Classes: []classView{}}
	for _, q := range s.Qdiscs {
		one := qdiscView{Kind: q.Kind, Handle: q.Handle, Parent: q.Parent, Counters: q.Counters}
		if q.Netem != nil {
			one.Spec = q.Netem.String()
		}
		if q.TBF != nil {
			one.BitsPerSecond = q.TBF.Rate
		}
		v.Qdiscs = append(v.Qdiscs, one)
	}
	for _, c := range s.Classes {
		v.Classes = append(v.Classes, classView{c.Handle, c.Parent, c.Rate, c.Ceil})
	}
	return v
}

func (v linkView) print(out io.Writer) error {
	state := "down"
	if v.Up {
		state = "up"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s, %s, mtu %d\n", v.Link, v.Kind, state, v.MTU)
	for _, q := range v.Qdiscs {
		fmt.Fprintf(&b, "  qdisc %s %s at %s", q.Kind, q.Handle, q.Parent)
		if q.Spec != "" {
			fmt.Fprintf(&b, "  %s", q.Spec)
		}
		if q.BitsPerSecond > 0 {
			fmt.Fprintf(&b, "  rate %dbit", q.BitsPerSecond)
		}
		if c := q.Counters; c.SentPackets > 0 || c.Dropped > 0 || c.BacklogPackets > 0 {
			fmt.Fprintf(&b, "  sent %d, dropped %d, held %d", c.SentPackets, c.Dropped, c.BacklogPackets)
		}
		b.WriteByte('\n')
	}
	if v.Lease != nil {
		fmt.Fprintf(&b, "  shaped by understudy: %s", v.Lease.Spec)
		if !v.Lease.EndsAt.IsZero() {
			fmt.Fprintf(&b, ", until %s", v.Lease.EndsAt.Format(time.TimeOnly))
		}
		b.WriteByte('\n')
		for _, c := range v.Lease.Classes {
			spec := c.Spec
			if spec == "" {
				spec = "as they are"
			}
			fmt.Fprintf(&b, "  class %s %s: %s  sent %d, dropped %d, held %d\n", c.Name, c.Direction, spec,
				c.Counters.SentPackets, c.Counters.Dropped, c.Counters.BacklogPackets)
		}
	}
	for _, c := range v.Classes {
		fmt.Fprintf(&b, "  class htb %s in %s  rate %dbit, ceil %dbit\n", c.Handle, c.Parent, c.BitsPerSecond, c.CeilBitsPerSecond)
	}
	_, err := io.WriteString(out, b.String())
	return err
}
