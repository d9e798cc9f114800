package jsapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/wire"
)

// JetStream is what is used of a jetstream.JetStream here.
type JetStream interface {
	Conn() *nats.Conn
	Options() jetstream.JetStreamOptions
}

// Subject returns the subject of a request, e.g. of "STREAM.MSG.GET.ORDERS",
// under the prefix or in the domain that js is for.
func Subject(js JetStream, request string) string {
	o := js.Options()
	switch {
	case o.APIPrefix != "":
		return strings.TrimSuffix(o.APIPrefix, ".") + "." + request
	case o.Domain != "":
		return "$JS." + o.Domain + ".API." + request
	default:
		return jetstream.DefaultAPIPrefix + request
	}
}

// GetMsg asks the leader of a stream for the message that which describes, in
// the words of the STREAM.MSG.GET request. The error is
// jetstream.ErrMsgNotFound where there is none.
func GetMsg(ctx context.Context, js JetStream, stream string, which map[string]any) (*jetstream.RawStreamMsg, error) {
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
	switch err := request(ctx, js, "STREAM.MSG.GET."+stream, which, &answer); {
	case err != nil:
		return nil, err
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
		raw.Header, _ = nats.DecodeHeadersMsg(m.Header) // none where they cannot be read, as in a subscription
	}
	return raw, nil
}

// request asks the API something, and decodes what it answers.
func request(ctx context.Context, js JetStream, what string, question, answer any) error {
	body, err := wire.Marshal(question)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	subject := Subject(js, what)
	msg, err := js.Conn().RequestWithContext(ctx, subject, body)
	if err != nil {
		return Denied(js.Conn(), subject, err)
	}
	if err := json.Unmarshal(msg.Data, answer); err != nil {
		return fmt.Errorf("decode the answer: %w", err)
	}
	return nil
}

// Denied explains err, a timeout of a request: where the server did not let the
// connection publish on a subject with that part in it, it said so and sent no
// answer. The error wraps nats.ErrPermissionViolation then.
func Denied(nc *nats.Conn, part string, err error) error {
	last := nc.LastError()
	if err != nil && errors.Is(last, nats.ErrPermissionViolation) && strings.Contains(last.Error(), part) {
		return fmt.Errorf("%w (%w)", last, err)
	}
	return err
}
