package subscription

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/wire"
)

// ErrNoStore is in the error of what needs a store that does not exist.
var ErrNoStore = errors.New("no such store")

// StoreInfo is what matters of a store at one moment.
type StoreInfo struct {
	Created   time.Time // a store of the same name but another time is another store
	Retention jetstream.RetentionPolicy
	Subjects  []string // what it captures; none for a mirror or a store that only sources
	First     uint64   // sequence of the first event held; Last+1 where it is empty
	Last      uint64   // sequence of the last event ever stored
}

// Held returns how many sequences of [from, to) the store can still hold. Some
// of them may have been deleted one by one.
func (i StoreInfo) Held(from, to uint64) uint64 {
	from, to = max(from, i.First), min(to, i.Last+1)
	return max(from, to) - from
}

// streams is what is used of JetStream here.
type streams interface {
	Stream(ctx context.Context, name string) (jetstream.Stream, error)
	Conn() *nats.Conn
	Options() jetstream.JetStreamOptions
}

// Inspect looks at a store. The error is ErrNoStore where there is none.
func Inspect(ctx context.Context, js streams, store string) (StoreInfo, error) {
	_, info, err := open(ctx, js, store)
	return info, err
}

// ReadEvent reads the event at seq of a store, and looks at the store. The error
// is ErrNoStore where there is none, jetstream.ErrMsgNotFound where it does not
// hold seq.
func ReadEvent(ctx context.Context, js streams, store string, seq uint64) (*jetstream.RawStreamMsg, StoreInfo, error) {
	s, info, err := open(ctx, js, store)
	if err != nil {
		return nil, StoreInfo{}, err
	}
	msg, err := s.GetMsg(ctx, seq)
	if err != nil {
		return nil, info, fmt.Errorf("read event %d of store %q: %w", seq, store, err)
	}
	return msg, info, nil
}

func open(ctx context.Context, js streams, store string) (jetstream.Stream, StoreInfo, error) {
	s, err := js.Stream(ctx, store)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, StoreInfo{}, fmt.Errorf("store %q: %w", store, ErrNoStore)
	case err != nil:
		return nil, StoreInfo{}, fmt.Errorf("inspect store %q: %w", store, err)
	}
	i := s.CachedInfo()
	info := StoreInfo{
		Created: i.Created.UTC(), Retention: i.Config.Retention, Subjects: i.Config.Subjects,
		First: i.State.FirstSeq, Last: i.State.LastSeq,
	}
	if i.State.Msgs == 0 {
		info.First = info.Last + 1
	}
	return s, info, nil
}

// ResolveStart returns the first sequence to read for a position in a store:
// "new" is the one after the last, "all" the first held, a sequence itself or
// the first held if that is later, a time that of the first event stored at or
// after it, the one after the last if there is none. A sequence beyond the
// last is kept: events from there on. The error is ErrNoStore where there is
// no such store.
func ResolveStart(ctx context.Context, js streams, store string, p wire.Position) (uint64, StoreInfo, error) {
	info, err := Inspect(ctx, js, store)
	if err != nil {
		return 0, StoreInfo{}, err
	}
	switch p.Kind {
	case wire.PositionAll:
		return info.First, info, nil
	case wire.PositionSequence:
		return max(p.Sequence, info.First), info, nil
	case wire.PositionTime:
		first, err := firstSince(ctx, js, store, info, p.Time)
		return first, info, err
	default:
		return info.Last + 1, info, nil
	}
}

// firstSince asks for the first event stored at or after t. The server finds
// it without a consumer; nats.go has no call for that request.
func firstSince(ctx context.Context, js streams, store string, info StoreInfo, t time.Time) (uint64, error) {
	body, err := json.Marshal(map[string]any{"start_time": countable(t), "next_by_subj": ">", "no_hdr": true})
	if err != nil {
		return 0, fmt.Errorf("encode the time to start at: %w", err)
	}
	msg, err := js.Conn().RequestWithContext(ctx, apiPrefix(js.Options())+"STREAM.MSG.GET."+store, body)
	if err != nil {
		return 0, fmt.Errorf("find the first event of store %q since %s: %w", store, t, err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Sequence uint64 `json:"seq"`
		} `json:"message"`
	}
	switch err := json.Unmarshal(msg.Data, &answer); {
	case err != nil:
		return 0, fmt.Errorf("read the first event of store %q since %s: %w", store, t, err)
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return info.Last + 1, nil
	case answer.Error != nil:
		return 0, fmt.Errorf("find the first event of store %q since %s: %w", store, t, answer.Error)
	case answer.Message == nil:
		return 0, fmt.Errorf("find the first event of store %q since %s: empty answer", store, t)
	}
	return answer.Message.Sequence, nil
}

// countable moves a time that int64 nanoseconds since 1970 cannot express to
// the nearest that they can: the server counts in them, and would wrap around.
func countable(t time.Time) time.Time {
	lo, hi := time.Unix(0, 0), time.Unix(0, math.MaxInt64)
	switch {
	case t.Before(lo):
		return lo.UTC()
	case t.After(hi):
		return hi.UTC()
	}
	return t
}

func apiPrefix(o jetstream.JetStreamOptions) string {
	switch {
	case o.APIPrefix != "":
		return strings.TrimSuffix(o.APIPrefix, ".") + "."
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	default:
		return jetstream.DefaultAPIPrefix
	}
}
