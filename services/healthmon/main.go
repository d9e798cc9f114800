// Command healthmon runs the health monitor.
package main

import (
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/services/healthmon/healthmon"
)

func main() { service.Main("healthmon", healthmon.FromEnv()) }
