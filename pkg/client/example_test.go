package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// A whole subscriber: it asks for two types of event of one store and handles
// them, eight at a time, until it is interrupted.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	nc, err := nats.Connect(nats.DefaultURL, nats.MaxReconnects(-1))
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	c, err := client.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	_, err = c.Subscribe(ctx, "triage", client.Spec{
		Store: "GITHUB",
		Selector: client.Selector{
			ByStream:       []string{"github.Codertocat.>"},
			ByEventType:    []string{"issues.opened", "issues.closed"},
			ByEventPayload: map[string]any{"issue": map[string]any{"state": "open"}},
		},
		Start:   client.FromAll(),
		Deliver: client.Deliver{Subject: "triage.issues"},
		Retry:   client.Retry{MaxAttempts: new(10)},
	})
	if err != nil {
		log.Fatal(err)
	}
	err = c.Receive(ctx, "triage.issues", "triagers", func(ctx context.Context, d *client.Delivery) error {
		var event struct{ Action string }
		if err := d.Decode(&event); err != nil {
			return client.Term(err) // another attempt would not help
		}
		fmt.Println(d.Subject(), d.Sequence(), event.Action)
		return nil
	}, client.WithConcurrency(8))
	if err != nil {
		log.Fatal(err)
	}
}

// Errors have codes to branch on and data to use.
func ExampleCodeOf() {
	var c *client.Client // as in the package's example
	ctx := context.Background()
	_, err := c.Subscribe(ctx, "triage", client.Spec{Store: "GITHUB"}, client.IfRevision(3))
	var werr *wire.Error
	switch {
	case client.CodeOf(err) == wire.CodeUnavailable:
		fmt.Println("try again later:", err)
	case errors.As(err, &werr) && werr.ErrCode == wire.CodeConflict:
		fmt.Println("somebody was faster: now at revision", werr.Revision)
	}
}

// A loop that answers each delivery by itself.
func ExampleClient_Messages() {
	var c *client.Client // as in the package's example
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for d, err := range c.Messages(ctx, "triage.issues", "triagers") {
		if err != nil {
			log.Fatal(err)
		}
		if err := d.Ack(); err != nil {
			log.Print(err) // it comes again
		}
	}
}

// What happens, as it happens.
func ExampleClient_Advisories() {
	var c *client.Client // as in the package's example
	ctx := context.Background()
	advisories, err := c.Advisories(ctx, "pool.>")
	if err != nil {
		log.Fatal(err)
	}
	for a, err := range advisories {
		if err != nil {
			log.Print(err)
			continue
		}
		fmt.Println(a.Timestamp, a.Type, a.Name, a.Detail)
	}
}

// Every subscription of one store, page by page.
func ExampleClient_List() {
	var c *client.Client // as in the package's example
	for s, err := range c.List(context.Background(), wire.ListRequest{Store: "GITHUB"}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(s.Name, s.State)
	}
}

func ExampleClient_StartReplay() {
	nc, err := nats.Connect(nats.DefaultURL)
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	c, err := client.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	again := client.Replay{From: client.FromAll(), Deliver: &client.Deliver{Subject: "triage.again"}, Rate: 100}
	seen, err := c.PreviewReplay(ctx, "triage", again)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d events, exactly: %v\n", seen.Preview.Events, seen.Preview.Exact)
	again.Confirm = seen.Confirm
	replay, err := c.StartReplay(ctx, "triage", again)
	if err != nil {
		log.Fatal(err)
	}
	for now, err := range c.FollowReplay(ctx, replay.ID, time.Second) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %d of %d\n", now.State, now.Finished, now.Total)
	}
}
