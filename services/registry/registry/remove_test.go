package registry

import (
	"testing"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestUnsubscribeRemovesOnceAndThenFindsNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.subscribe("gone", body())
	for _, name := range []string{"gone", "gone", "stays"} {
		if _, err := e.js.Publish(t.Context(), ns.Parked(name), []byte("parked")); err != nil {
			t.Fatal(err)
		}
	}
	if got := ok[wire.UnsubscribeResponse](e, wire.VerbUnsubscribe, "gone", "{}"); !got.Deleted || got.Parked == nil || *got.Parked != 2 {
		t.Errorf("%+v, want it deleted, and 2 events parked", got)
	}
	for _, verb := range []string{wire.VerbUnsubscribe, wire.VerbGet, wire.VerbPause, wire.VerbResume} {
		_ = e.refused(verb, "gone", "", wire.CodeNoSubscription)
	}
	_ = e.refused(wire.VerbSeek, "gone", `{"to":"all"}`, wire.CodeNoSubscription)
}
