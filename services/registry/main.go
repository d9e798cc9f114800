// Command registry runs the subscription registry.
package main

import (
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/services/registry/registry"
)

func main() { service.Main("registry", registry.FromEnv()) }
