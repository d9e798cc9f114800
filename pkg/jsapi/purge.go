package jsapi

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/wire"
)

// PurgeBelow removes the messages of one subject whose sequences are below the
// given one, and returns how many those were. A message that is stored meanwhile
// stays, since its sequence is higher. Below must be above 1.
func PurgeBelow(ctx context.Context, js JetStream, stream, subject string, below uint64) (purged uint64, err error) {
	if below <= 1 || subject == "" { // which the server takes for all
		return 0, fmt.Errorf("purge %q below %d: all would go", subject, below)
	}
	body, err := wire.Marshal(map[string]any{"filter": subject, "seq": below})
	if err != nil {
		return 0, fmt.Errorf("encode the request: %w", err)
	}
	request := Subject(js, "STREAM.PURGE."+stream)
	msg, err := js.Conn().RequestWithContext(ctx, request, body)
	if err != nil {
		return 0, Denied(js.Conn(), request, err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Success bool                `json:"success"`
		Purged  uint64              `json:"purged"`
	}
	switch err := json.Unmarshal(msg.Data, &answer); {
	case err != nil:
		return 0, fmt.Errorf("decode the answer: %w", err)
	case answer.Error != nil:
		return 0, answer.Error
	case !answer.Success:
		return 0, jetstream.ErrInvalidJetStreamResponse
	}
	return answer.Purged, nil
}
