package hostile

import (
	"testing"

	"github.com/sluicehq/sluice/integration/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
