package check

import (
	"strings"
	"testing"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestGap_IsToldWithItsKindAndNumber(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		gap    wire.Gap
		kind   string
		count  uint64
		detail string
	}{
		{"of an earlier version", wire.Gap{From: 3, To: 9}, wire.GapFront, 7, "no longer held the events 3 to 9"},
		{"at the front", wire.Gap{From: 3, To: 9, Count: 7, Kind: wire.GapFront}, wire.GapFront, 7, "no longer held the events 3 to 9"},
		{"in the middle", wire.Gap{From: 3, To: 9, Count: 2, Kind: wire.GapMiddle}, wire.GapMiddle, 2, "lost 2 of the events 3 to 9"},
	} {
		kind, count := kindOf(&tt.gap)
		if detail := lostEvents(&tt.gap); kind != tt.kind || count != tt.count || !strings.Contains(detail, tt.detail) {
			t.Errorf("%s: %d events, %s, %q; want %d, %s, %q", tt.name, count, kind, detail, tt.count, tt.kind, tt.detail)
		}
	}
}
