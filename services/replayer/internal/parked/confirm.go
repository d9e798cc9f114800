package parked

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/sluicehq/sluice/pkg/wire"
)

// confirmation is what a request must give back that does to many events what a
// dry run has counted. It is no secret: it says that somebody has seen a number.
// It names how far the dry run looked. So it stays true while events are parked,
// and while what it allows is carried out in several requests.
func confirmation(e extent, verb string, c wire.ParkedChoice, to uint64) (string, error) {
	what, err := wire.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("encode what was chosen: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d %d %s", verb, e.name, e.created.UnixNano(), to, what))
	return strconv.FormatUint(to, 10) + "-" + hex.EncodeToString(sum[:8]), nil
}

// confirmed returns how far the dry run looked that answered confirm. Ok is false
// where it was one of something else.
func confirmed(e extent, verb string, c wire.ParkedChoice, confirm string) (to uint64, ok bool) {
	digits, _, _ := strings.Cut(confirm, "-")
	to, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, false
	}
	want, err := confirmation(e, verb, c, to)
	return to, err == nil && want == confirm
}
