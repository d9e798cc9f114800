package replayer

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestReplaysOfParkedEventsThatAreWrongAreRefused(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.start(quick(), nil)
	e.await("the election", func(r wire.ReconcileReport) bool { return r.Trigger == moveElected })
	for _, tt := range []struct {
		name, body string
		code       wire.ErrCode
		field      string
	}{
		{"a", `{`, wire.CodeBadJSON, ""},
		{"a", `{}`, wire.CodeBadField, ""},
		{"a", `{"all":true,"sequences":[1]}`, wire.CodeBadField, ""},
		{"a", `{"all":true,"rate":-1}`, wire.CodeBadField, "rate"},
		{"a", `{"all":true,"dry_run":true,"confirm":"x"}`, wire.CodeBadField, "confirm"},
		{"a", `{"all":true,"deliver":{"subject":"a.*"}}`, wire.CodeBadDelivery, "deliver.subject"},
		{"a", `{"all":true,"from":"all"}`, wire.CodeBadField, "from"},
		{"a", `{"all":true}`, wire.CodeNoSubscription, ""},
	} {
		m, err := e.nc.Request(ns.API(wire.VerbParkedReplay, tt.name), []byte(tt.body), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var got wire.Head
		if err := json.Unmarshal(m.Data, &got); err != nil {
			t.Fatal(err)
		}
		switch bad := got.Error; {
		case bad == nil || bad.ErrCode != tt.code:
			t.Errorf("%s: %+v, want %d", tt.body, bad, tt.code)
		case tt.field != "" && (len(bad.Details) != 1 || bad.Details[0].Field != tt.field):
			t.Errorf("%s: %+v, want a fault of %s", tt.body, bad.Details, tt.field)
		}
	}
}
