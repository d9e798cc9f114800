// Command emitter claims pools and delivers their events.
package main

import (
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/services/emitter/emitter"
)

func main() { service.Main("emitter", emitter.FromEnv()) }
