// Command simulate shows how a pool's limit follows subscribers of several
// kinds. It prints one JSON object a line, ten for each second of each
// scenario, from which the plot in docs/performance.md is made.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	enc := json.NewEncoder(os.Stdout)
	for _, s := range scenarios() {
		for _, p := range s.run() {
			if err := enc.Encode(p); err != nil {
				fmt.Fprintln(os.Stderr, "simulate:", err)
				os.Exit(1) //nolint:forbidigo // a program of its own, not a service
			}
		}
	}
}
