// Package timers wakes pools at the times they ask for, from one goroutine.
package timers
