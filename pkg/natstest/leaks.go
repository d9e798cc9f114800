package natstest

import "go.uber.org/goleak"

// ServersLeaks are the goroutines that a nats-server does not end when it shuts
// down while it looks for the origin of a mirror or a source: each waits up to
// 30 seconds for an answer.
func ServersLeaks() []goleak.Option {
	const stream = "github.com/nats-io/nats-server/v2/server.(*stream)."
	return []goleak.Option{
		goleak.IgnoreAnyFunction(stream + "trySetupSourceConsumer.func3"),
		goleak.IgnoreAnyFunction(stream + "setupMirrorConsumer.func3"),
	}
}
