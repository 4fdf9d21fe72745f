package shaping

import "fmt"

// Found is what an interface had before it was shaped, and what shaping will touch:
// enough for another process to restore it. It is written down before anything is done.
type Found struct {
	Interface string `json:"interface"`
	Index     int    `json:"index"`
	Kind      string `json:"kind"` // of the interface

	Egress bool `json:"egress"` // the direction that leaves is shaped
	// Root is the qdisc that stood at the root; its Kind is "" where the kernel
	// chose it and will again.
	Root SavedQdisc `json:"root"`
	// GSOMaxSegs is what it was, 0 where it is left alone.
	GSOMaxSegs uint32 `json:"gso_max_segs,omitempty"`

	// TxQLen is its transmit queue's length: the kernel raises one of 0 when it gets
	// a qdisc, and leaves it so.
	TxQLen int `json:"txqlen"`

	// IFB is the interface through which arriving packets are led, "" for none.
	IFB string `json:"ifb,omitempty"`
	// GRO was on and is switched off.
	GRO bool `json:"gro,omitempty"`
}

// SavedQdisc is a qdisc as the kernel told it.
type SavedQdisc struct {
	Kind    string `json:"kind,omitempty"`
	Handle  uint32 `json:"handle,omitempty"`
	Options []byte `json:"options,omitempty"`
}

// ifbName is the name of the ifb for an interface; the kernel's limit is 15 bytes.
func ifbName(index int) string { return fmt.Sprintf("us-ifb%d", index) }

// about is what Lint has to know of where conditions apply.
func (f Found) about(t Target) Place {
	return Place{Interface: f.Interface, Kind: f.Kind, KeepGSO: t.KeepGSO, Ingress: f.IFB != "", IngressDirection: t.ingress()}
}
