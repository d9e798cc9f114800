package bus

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Respond sends the answer to a request of verb: body as JSON or, where e is
// not nil, the error, in the body and in the headers of the NATS micro
// framework. It does what micro.Request does, but may be used after the
// endpoint's handler has returned, which micro.Request may not.
func Respond(nc *nats.Conn, reply, verb string, body any, e *wire.Error) error {
	msg := &nats.Msg{Subject: reply}
	if e != nil {
		body = wire.Head{Type: wire.ResponseType(verb), Error: e}
		msg.Header = nats.Header{
			wire.HeaderServiceError:     {HeaderText(e.Description, maxDescription)},
			wire.HeaderServiceErrorCode: {strconv.Itoa(e.Code)},
		}
	}
	var err error
	if msg.Data, err = json.Marshal(body); err != nil {
		return fmt.Errorf("encode the answer to %s: %w", verb, err)
	}
	if err := nc.PublishMsg(msg); err != nil {
		return fmt.Errorf("answer %s: %w", verb, err)
	}
	return nil
}

// maxDescription bounds a description in a header, in bytes; the body has all
// of it.
const maxDescription = 512

// HeaderText makes s fit for a header: one line of valid UTF-8 of at most
// limit bytes, and "…" where it was cut.
func HeaderText(s string, limit int) string {
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
