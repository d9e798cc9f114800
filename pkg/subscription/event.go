package subscription

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ReadEvent reads the event at seq of a store, and looks at the store. The error
// is ErrNoStore where there is none, jetstream.ErrMsgNotFound where it does not
// hold seq.
func ReadEvent(ctx context.Context, js streams, store string, seq uint64) (*jetstream.RawStreamMsg, StoreInfo, error) {
	info, err := Inspect(ctx, js, store)
	if err != nil {
		return nil, StoreInfo{}, err
	}
	msg, err := GetMsg(ctx, js, store, map[string]any{"seq": seq})
	if err != nil {
		return nil, info, fmt.Errorf("read event %d of store %q: %w", seq, store, err)
	}
	return msg, info, nil
}

// GetMsg asks the leader of a stream for the message that which describes, in
// the words of the STREAM.MSG.GET request. What jetstream.Stream does
// where the stream allows it, a direct get, may be answered by a replica: that
// may lag behind and not find the message, and it adds headers that the message
// does not have. The error is jetstream.ErrMsgNotFound where there is none.
func GetMsg(ctx context.Context, js streams, stream string, which map[string]any) (*jetstream.RawStreamMsg, error) {
	body, err := json.Marshal(which)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	msg, err := js.Conn().RequestWithContext(ctx, apiPrefix(js.Options())+"STREAM.MSG.GET."+stream, body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	switch err := json.Unmarshal(msg.Data, &answer); {
	case err != nil:
		return nil, fmt.Errorf("decode the answer: %w", err)
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, jetstream.ErrMsgNotFound
	case answer.Error != nil:
		return nil, answer.Error
	case answer.Message == nil:
		return nil, jetstream.ErrInvalidJetStreamResponse
	}
	m := answer.Message
	raw := &jetstream.RawStreamMsg{Subject: m.Subject, Sequence: m.Sequence, Data: m.Data, Time: m.Time}
	if len(m.Header) > 0 {
		if raw.Header, err = nats.DecodeHeadersMsg(m.Header); err != nil {
			return nil, fmt.Errorf("decode the headers: %w", err)
		}
	}
	return raw, nil
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
