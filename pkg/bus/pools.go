package bus

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
)

// AskPools asks an emitter how its pools of the given names are.
func AskPools(ctx context.Context, nc *nats.Conn, ns wire.Namespace, emitter string, names ...string) (*wire.PoolsResponse, error) {
	body, err := wire.Marshal(wire.PoolsRequest{Names: names})
	if err != nil {
		return nil, fmt.Errorf("encode question: %w", err)
	}
	m, err := nc.RequestWithContext(ctx, ns.EmitterPools(emitter), body)
	if err != nil {
		return nil, fmt.Errorf("ask %s for pools: %w", emitter, err)
	}
	var answer wire.PoolsResponse
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, fmt.Errorf("decode pools of %s: %w", emitter, err)
	}
	return &answer, nil
}
