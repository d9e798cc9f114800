package emitter

import (
	"testing"
)

func TestHandover_HasTheSessionSaySoFirst(t *testing.T) {
	t.Parallel()
	said := false
	hs := newHoldings()
	o := &handover{claims: &claimer{holdings: hs}, renew: func() { said = hs.draining.Load() }}
	o.Run(t.Context())
	if !said {
		t.Error("the session is renewed, and does not say that this instance drains")
	}
}
