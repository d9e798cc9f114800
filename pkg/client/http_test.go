package client_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestASpecOfASubscriptionHasAllThatItsDeliveryHas(t *testing.T) {
	t.Parallel()
	for _, d := range []wire.Deliver{
		{Subject: "a", Stream: "S", Mode: wire.ModeAck, Ack: wire.AckExplicit, Rate: 5},
		{Mode: wire.ModeAck, Ack: wire.AckAny, Rate: 7, HTTP: &wire.HTTP{
			URL: "https://h", Method: "PUT", Headers: map[string]string{"a": "b"}, Timeout: wire.Duration(1e9), SecretRef: "k",
		}},
	} {
		sent, err := wire.Marshal(client.SpecOf(wire.Spec{Deliver: d}).Deliver)
		if err != nil {
			t.Fatal(err)
		}
		var got wire.Deliver
		if err := json.Unmarshal(sent, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}
