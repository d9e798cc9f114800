package emitter

import (
	"testing"
)

func TestHandover_HasTheSessionSaySoFirst(t *testing.T) {
	t.Parallel()
	said := false
	hs := &holdings{}
	p := &parts{Service: &Service{}, holdings: hs, claims: &claimer{}}
	p.handOver(t.Context(), func() { said = hs.draining.Load() })
	if !said {
		t.Error("the session is renewed, and does not say that this instance drains")
	}
}
