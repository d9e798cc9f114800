// Command standalone runs a nats-server with JetStream and all of Sluice's
// services in one process: for a laptop, a demo, a test.
package main

import (
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/services/standalone/standalone"
)

func main() { service.Main("standalone", standalone.FromEnv(), standalone.Unread()...) }
