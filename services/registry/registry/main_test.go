package registry

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/sluicehq/sluice/pkg/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, natstest.ServersLeaks()...) }
