package shaping

import "fmt"

// ShowClasses reads what the classes of a lease have in force and have counted, in each
// direction that is shaped; none where it has no classes. It changes nothing.
func ShowClasses(t Target, l *Lease) (all []ClassState, err error) {
	if len(l.Classes) == 0 {
		return nil, nil
	}
	c, err := t.dialNamespace()
	if err != nil {
		return nil, err
	}
	defer c.close()
	of := Target{Egress: l.Egress}
	for _, at := range []struct {
		name      string
		direction Direction
		shaped    bool
	}{{l.Found.IFB, of.ingress(), l.Found.IFB != ""}, {l.Found.Interface, of.egress(), l.Found.Egress}} {
		if !at.shaped {
			continue
		}
		link, err := c.link(at.name)
		if err != nil {
			return nil, fmt.Errorf("show classes of %q: %w", at.name, err)
		}
		qdiscs, err := c.qdiscs(link.Attrs().Index)
		if err != nil {
			return nil, fmt.Errorf("show classes of %s: %w", at.name, err)
		}
		for i, class := range l.Classes {
			s := ClassState{Name: class.Name, To: class.To, Direction: at.direction}
			there := false
			for _, q := range qdiscs {
				if q.parent != (&leaf{band: i}).parent() {
					continue
				}
				there, s.Counters = true, q.counters
				if q.kind == kindNetem {
					if s.Conditions, err = Decode(q.options); err != nil {
						return nil, fmt.Errorf("show classes of %s: %s: %w", at.name, class.Name, err)
					}
				}
			}
			if there { // not yet while it is being set, and no more once it was cleared
				all = append(all, s)
			}
		}
	}
	return all, nil
}
