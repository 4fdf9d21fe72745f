package http1

import (
	"errors"
	"fmt"
)

// ErrHijacked is what ServeConn returns when a handler took the connection
// over: it is the handler's to close.
var ErrHijacked = errors.New("connection taken over by its handler")

// BadRequestError is why a client's message was refused.
type BadRequestError struct {
	Status int    // what the client was answered: 400, 408, 431, 501 or 505
	Reason string // one line, also the answer's body
}

// Error names the finding.
func (e *BadRequestError) Error() string { return e.Reason }

func bad(format string, args ...any) *BadRequestError {
	return &BadRequestError{Status: 400, Reason: fmt.Sprintf(format, args...)}
}

// StaleError says that a connection which had served before was lost before a
// byte of the response came, or brought what is no response: the upstream most likely
// closed it while it was idle, or had sent more than it announced. It stands inside a
// wire.UpstreamError. The request may be sent again on another connection where its
// method or the caller allows it and its body is whole.
type StaleError struct {
	Err error // the cause
	// BodyTaken is set where bytes were already read from the request's body.
	BodyTaken bool
	// Unsent is set where nothing was sent: the connection ended between a look at it
	// and the request. It may be sent again whatever its method.
	Unsent bool
}

// Error gives the cause.
func (e *StaleError) Error() string {
	return "a kept connection was lost: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *StaleError) Unwrap() error { return e.Err }

// ProtocolError is a violation of HTTP by an upstream. It stands inside a
// wire.UpstreamError, or comes from a response body's Read.
type ProtocolError struct{ Reason string }

// Error names the finding.
func (e *ProtocolError) Error() string { return e.Reason }

var (
	errInterrupted  = errors.New("read interrupted")
	errNotBuffered  = errors.New("not arrived yet")
	errHeadTooLarge = errors.New("head too large")
	errLineTooLong  = errors.New("line too long")
	errBareLF       = errors.New("line ends without CR")

	errBodyClosed  = errors.New("read request body: the exchange has ended")
	errNoHead      = errors.New("write response: no head written yet")
	errHeadTwice   = errors.New("write response: a head was written before")
	errEnded       = errors.New("write response: the exchange has ended")
	errNotSwitched = errors.New("take over a connection: the request asked for no other protocol")
	errTooLong     = errors.New("write response: more body than the head declared")
)
