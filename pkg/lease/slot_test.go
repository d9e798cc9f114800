package lease

import (
	"testing"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestALeaseThatCannotBeTrueIsSomebodyElses(t *testing.T) {
	t.Parallel()
	const rev = 40
	for _, tt := range []struct {
		what, value string
		want        wire.Lease
	}{
		{"one that is held", `{"role":"r","instance":"a","epoch":40}`, wire.Lease{Role: "r", Instance: "a", Epoch: 40}},
		{"one that is being claimed", `{"role":"r","instance":"a","epoch":0}`, wire.Lease{Role: "r", Instance: "a"}},
		{"another role's", `{"role":"q","instance":"a","epoch":40}`, wire.Lease{}},
		{"an epoch from the future", `{"role":"r","instance":"a","epoch":41}`, wire.Lease{}},
		{"an epoch at the end of numbers", `{"role":"r","instance":"a","epoch":18446744073709551615}`, wire.Lease{}},
		{"a wildcard's", `{"role":"r","instance":"*","epoch":4}`, wire.Lease{}},
		{"no JSON", `{`, wire.Lease{}},
		{"half of one", `{"role":"r","instance":"a","epoch":"x"}`, wire.Lease{}},
	} {
		if got := decodeLease("r", rev, []byte(tt.value)); got.rev != rev || got.lease != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.what, got, tt.want)
		}
	}
}
