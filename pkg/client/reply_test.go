package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestAnswersGoNowhereButToSluiceAndInboxes(t *testing.T) {
	t.Parallel()
	c, nc := setup(t)
	var refused atomic.Int32
	r := receive(t, c, func(context.Context, *client.Delivery) error { return nil },
		client.WithOnError(func(_ *client.Delivery, err error) {
			if errors.Is(err, client.ErrReply) {
				refused.Add(1)
			}
		}))
	heard, err := nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	good := []string{"_INBOX.x", wire.DefaultNamespace.Answers("emitter-1") + ".0.a"}
	bad := []string{"$JS.API.STREAM.DELETE.ORDERS", "$KV.sluice_pools.other", "orders.paid", "_SLUICE.sluice.session.emitter.x", "_INBOX.*"}
	for _, reply := range append(bad, good...) {
		if err := nc.PublishMsg(&nats.Msg{Subject: target, Reply: reply}); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Await(t, "all of them", func() error {
		if got := int(r.Stats().Acked) + int(refused.Load()); got != len(good)+len(bad) {
			return fmt.Errorf("%d handled", got)
		}
		return nil
	})
	var answered []string
	for len(answered) < len(good) {
		msg, err := heard.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if msg.Subject != target {
			answered = append(answered, msg.Subject)
		}
	}
	if diff := cmp.Diff(good, answered); diff != "" || int(refused.Load()) != len(bad) {
		t.Errorf("%d refused of %d; answered (-want +got):\n%s", refused.Load(), len(bad), diff)
	}
}
