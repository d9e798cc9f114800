package feed

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// JetStream is what a Feed uses of a jetstream.JetStream.
type JetStream interface {
	Stream(ctx context.Context, name string) (jetstream.Stream, error)
	CreateConsumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error)
	DeleteConsumer(ctx context.Context, stream, consumer string) error
	Conn() *nats.Conn
	Options() jetstream.JetStreamOptions
}

// Msg is a message of the stream. It is the handler's to keep.
type Msg struct {
	Subject  string
	Header   nats.Header // as it was stored
	Data     []byte
	Sequence uint64    // in the stream
	Time     time.Time // when it was stored
	Pending  uint64    // how many more there were when the server sent this one
}

// State is how a Feed fares.
type State struct {
	// Err is why it cannot read; nil while it can.
	Err error
	// Reopened is how often it has been opened anew since the last message.
	Reopened int
}

// Owner says whose consumers they are. It is in their names and metadata.
type Owner struct{ Namespace, Service, Instance string }

// Config of a Feed.
type Config struct {
	Stream string
	// Filters are the subjects to read, with wildcards. Defaults to all.
	Filters []string
	// After is the last sequence that is not to be read. Default 0.
	After uint64
	// LastPerSubject begins with the last message of each subject, in the order
	// of their sequences, and goes on with what follows. After is then not used.
	LastPerSubject bool
	// HeadersOnly leaves the data of messages out. The server then adds a header
	// with its size.
	HeadersOnly bool

	// Messages and Bytes bound what lies in the client, not yet handled. A
	// message of the largest size that the server takes fits in any case, twice.
	// Default to 4,096 and 8 MiB.
	Messages int
	Bytes    int

	Owner Owner
	// Purpose is the consumers' description, e.g. "reads events for subscriptions".
	Purpose string
	Log     zerolog.Logger

	// What follows is optional. All of it is called from Run's goroutine, in
	// order with the handler, and must not block.

	// OnState is told when the state changes.
	OnState func(State)
	// OnListed is called once after each opening, when the consumer's server has
	// nothing more to send for now.
	OnListed func()
	// Look is told of the stream before each opening: one with another creation
	// time is another stream. An error ends Run.
	Look func(*jetstream.StreamInfo) error
}

func (c Config) withDefaults() Config {
	if c.Messages <= 0 {
		c.Messages = 4096
	}
	if c.Bytes <= 0 {
		c.Bytes = 8 << 20
	}
	if c.OnState == nil {
		c.OnState = func(State) {}
	}
	if c.OnListed == nil {
		c.OnListed = func() {}
	}
	return c
}

// inactive is how long the server keeps a consumer that nobody asks for more.
const inactive = 30 * time.Second

// consumer is the consumer that reads behind a message; begun says that there
// was one.
func (c Config) consumer(begun bool, last uint64) jetstream.ConsumerConfig {
	cc := jetstream.ConsumerConfig{
		Name:        strings.Join([]string{c.Owner.Namespace, c.Owner.Instance, rand.Text()[:7]}, "_"),
		Description: fmt.Sprintf("Sluice: %s %s", c.Owner.Instance, c.Purpose),
		Metadata: map[string]string{
			"io.sluice.namespace": c.Owner.Namespace,
			"io.sluice.service":   c.Owner.Service,
			"io.sluice.instance":  c.Owner.Instance,
			// What is never so while all is well, for `nats server check consumer`.
			"io.nats.monitor.enabled":                  "true",
			"io.nats.monitor.outstanding-ack-critical": "1",
			"io.nats.monitor.redelivery-critical":      "1",
			"io.nats.monitor.waiting-critical":         "16",
		},
		AckPolicy:         jetstream.AckNonePolicy,
		HeadersOnly:       c.HeadersOnly,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: inactive,
	}
	switch {
	case c.LastPerSubject && !begun:
		cc.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
	default:
		cc.DeliverPolicy, cc.OptStartSeq = jetstream.DeliverByStartSequencePolicy, last+1
	}
	switch {
	case len(c.Filters) > 1:
		cc.FilterSubjects = c.Filters
	case len(c.Filters) == 1:
		cc.FilterSubject = c.Filters[0]
	case cc.DeliverPolicy == jetstream.DeliverLastPerSubjectPolicy:
		cc.FilterSubject = ">"
	}
	return cc
}
