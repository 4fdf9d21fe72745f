package shim

// The steps that a shim reports, in their order. Their names are for people.
const (
	StepStart   = "start"
	StepPowers  = "its powers"
	StepNetwork = "network"
	StepLink    = "link"
	StepCatch   = "transparent"
	StepLocal   = "loopback"
	StepAsk     = "ask first"
	StepSockets = "sockets"
	StepMount   = "mounts"
	StepHand    = "hand over"
)
