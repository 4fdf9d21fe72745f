package shaping

// Capability is something that a machine can do or cannot, as tried out.
type Capability struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"` // what was found
	Remedy string `json:"remedy,omitempty"` // what mends it; "" where OK, or where nothing does
}

// The names of what Probe tries, in its order.
const (
	CapNamespaces = "namespaces" // a user and a network namespace, with a link made in it
	CapNetem      = "netem"
	CapHTB        = "htb"
	CapTBF        = "tbf"
	CapIFB        = "ifb"
	CapTProxy     = "tproxy" // nf_tables with TPROXY
)

var capabilities = []string{CapNamespaces, CapNetem, CapHTB, CapTBF, CapIFB, CapTProxy}

// allMissing answers every question the same way.
func allMissing(detail, remedy string) []Capability {
	all := make([]Capability, len(capabilities))
	for i, name := range capabilities {
		all[i] = Capability{Name: name, Detail: detail, Remedy: remedy}
	}
	return all
}
