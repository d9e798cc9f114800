// Command replayer looks, after every move of leadership, for changes of
// subscriptions that no emitter has observed, and replays them.
package main

import (
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/services/replayer/replayer"
)

func main() { service.Main("replayer", replayer.FromEnv()) }
