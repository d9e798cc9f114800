package replayer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/sluicehq/sluice/pkg/wire"
)

// counted is what a dry run has found: the range that it resolved, and how many
// events would be sent.
type counted struct {
	from, to  uint64
	events    uint64
	estimated bool
}

// confirm values name what was counted, and by two sums what for: the request, and
// the subscription as it was. They are no secret. They keep a replay from being
// another one than the one that somebody has looked at.
func (c counted) confirm(req *wire.ReplayRequest, rec *wire.Record) (string, error) {
	asked, err := sumOfRequest(rec.Name, req)
	if err != nil {
		return "", err
	}
	kind := "x"
	if c.estimated {
		kind = "e"
	}
	return fmt.Sprintf("%d-%d-%d%s-%s-%s", c.from, c.to, c.events, kind, asked, c.sum(rec)), nil
}

// confirmed reads a confirm value. The error is CodeUnconfirmed where it is none,
// or not of this request, or no longer true.
func confirmed(req *wire.ReplayRequest, rec *wire.Record) (counted, error) {
	c, sums, ok := parseConfirm(req.Confirm)
	asked, err := sumOfRequest(rec.Name, req)
	switch {
	case err != nil:
		return counted{}, err
	case !ok:
		return counted{}, unconfirmed("want the confirm value of a dry run, unchanged")
	case sums[0] != asked:
		return counted{}, unconfirmed("it belongs to another request: name, from, to, selector and deliver must be those of the dry run")
	case sums[1] != c.sum(rec):
		return counted{}, unconfirmed("it is no longer true: the subscription has changed since the dry run")
	}
	return c, nil
}

func parseConfirm(s string) (c counted, sums [2]string, ok bool) {
	parts := strings.Split(s, "-")
	if len(parts) != 5 {
		return c, sums, false
	}
	var errs [3]error
	c.from, errs[0] = strconv.ParseUint(parts[0], 10, 64)
	c.to, errs[1] = strconv.ParseUint(parts[1], 10, 64)
	count, estimated := strings.CutSuffix(parts[2], "e")
	c.events, errs[2] = strconv.ParseUint(strings.TrimSuffix(count, "x"), 10, 64)
	c.estimated = estimated
	return c, [2]string{parts[3], parts[4]}, errs == [3]error{}
}

// sumOfRequest is the sum of what must be the same in the dry run and the start.
func sumOfRequest(name string, req *wire.ReplayRequest) (string, error) {
	body, err := wire.Marshal(struct {
		Name     string
		From     wire.Position
		To       wire.ReplayEnd
		Selector *wire.Selector
		Deliver  *wire.Deliver
	}{name, req.From, req.To, req.Selector, req.Deliver})
	return sum(string(body)), err
}

// sum is that of the subscription, and of what was counted.
func (c counted) sum(rec *wire.Record) string {
	return sum(fmt.Sprint(rec.UID, rec.Generation, rec.StoreCreated.UnixNano(), c))
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:10])
}

func unconfirmed(why string) *wire.Error {
	e := wire.Errorf(wire.CodeUnconfirmed, "the replay is not confirmed: %s", why)
	e.Details = []wire.Fault{{Field: "confirm", Reason: why + `; ask with "dry_run": true, and give its "confirm" back`}}
	return e
}
