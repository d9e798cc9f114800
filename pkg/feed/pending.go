package feed

import (
	"context"
	"fmt"
	"time"
)

// brief is how long the server keeps a consumer that was made only to count.
const brief = 5 * time.Second

// Pending is how many messages there are for a Feed, as the server counts them by
// subject. Of cfg it uses what says which messages those are.
func Pending(ctx context.Context, js JetStream, cfg Config) (uint64, error) {
	cc := cfg.consumer(false, cfg.After)
	cc.InactiveThreshold = brief
	cons, err := js.CreateConsumer(ctx, cfg.Stream, cc)
	if err != nil {
		return 0, fmt.Errorf("count the messages of stream %q: %w", cfg.Stream, err)
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := js.DeleteConsumer(late, cfg.Stream, cc.Name); err != nil {
		cfg.Log.Debug().Err(err).Str("consumer", cc.Name).Msg("consumer left to the server to remove")
	}
	return cons.CachedInfo().NumPending, nil
}
