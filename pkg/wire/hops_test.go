package wire_test

import (
	"strings"
	"testing"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestHops_OfAHeaderWhateverIsWrittenThere(t *testing.T) {
	t.Parallel()
	compact := func(hops string) string {
		return "triage ORDERS 42 1795694205303398000 1 77 " + hops + " orders.a.placed"
	}
	for _, tt := range []struct {
		header string
		values []string
		want   int
	}{
		{"Sluice-Store", []string{"S"}, 0},
		{"X-Sluice-Hops", []string{"5"}, 0},
		{"Sluice-Subscription", []string{"triage"}, 1},
		{"sluice-SUBSCRIPTION", nil, 1},
		{"Sluice-Hops", []string{"2"}, 2},
		{"sluice-hops", []string{"7"}, 7},
		{"Sluice-Hops", []string{" 07 "}, 7},
		{"Sluice-Hops", []string{"8"}, 8},
		{"Sluice-Hops", []string{"9"}, 8},
		{"Sluice-Hops", []string{"18446744073709551617"}, 8},
		{"Sluice-Hops", []string{strings.Repeat("9", 60_000)}, 8},
		{"Sluice-Hops", []string{"0"}, 1},
		{"Sluice-Hops", []string{"-9"}, 1},
		{"Sluice-Hops", []string{"+9"}, 1},
		{"Sluice-Hops", []string{"9.0"}, 1},
		{"Sluice-Hops", []string{"0x9"}, 1},
		{"Sluice-Hops", []string{"nine"}, 1},
		{"Sluice-Hops", []string{"٩"}, 1},
		{"Sluice-Hops", []string{"9\x00"}, 1},
		{"Sluice-Hops", []string{""}, 1},
		{"Sluice-Hops", nil, 1},
		{"Sluice-Hops", []string{"1", "-1", "6", "x", "3"}, 6},
		{"Sluice-Event", []string{compact("5")}, 5},
		{"SLUICE-event", []string{compact("5"), compact("12")}, 8},
		{"Sluice-Event", []string{compact("-1")}, 1},
		{"Sluice-Event", []string{"triage ORDERS"}, 1},
		{"Sluice-Event", []string{""}, 1},
	} {
		if got := wire.Hops(tt.header, tt.values); got != tt.want {
			t.Errorf("Hops(%s, %.60q) = %d, want %d", tt.header, tt.values, got, tt.want)
		}
	}
}
