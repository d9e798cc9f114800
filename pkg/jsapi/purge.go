package jsapi

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// PurgeBelow removes the messages of one subject whose sequences are below the
// given one, and returns how many those were. A message that is stored meanwhile
// stays, since its sequence is higher. Below must be above 1.
func PurgeBelow(ctx context.Context, js JetStream, stream, subject string, below uint64) (purged uint64, err error) {
	if below <= 1 || subject == "" { // which the server takes for all
		return 0, fmt.Errorf("purge %q below %d: all would go", subject, below)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Success bool                `json:"success"`
		Purged  uint64              `json:"purged"`
	}
	question := map[string]any{"filter": subject, "seq": below}
	switch err := request(ctx, js, "STREAM.PURGE."+stream, question, &answer); {
	case err != nil:
		return 0, err
	case answer.Error != nil:
		return 0, answer.Error
	case !answer.Success:
		return 0, jetstream.ErrInvalidJetStreamResponse
	}
	return answer.Purged, nil
}
