package subscription

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/jsapi"
)

// ReadEvent reads the event at seq of a store, and looks at the store. The error
// is ErrNoStore where there is none, jetstream.ErrMsgNotFound where it does not
// hold seq.
func ReadEvent(ctx context.Context, js streams, store string, seq uint64) (*jetstream.RawStreamMsg, StoreInfo, error) {
	info, err := Inspect(ctx, js, store)
	if err != nil {
		return nil, StoreInfo{}, err
	}
	msg, err := jsapi.GetMsg(ctx, js, store, map[string]any{"seq": seq})
	if err != nil {
		return nil, info, fmt.Errorf("read event %d of store %q: %w", seq, store, err)
	}
	return msg, info, nil
}
