package gateway_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/understudy-proxy/understudy/internal/gateway"
)

func TestMain(m *testing.M) {
	gateway.Shim()
	goleak.VerifyTestMain(m)
}
