package emitter

import (
	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

// watchData is a nats.Option: it has the pools told when the data connection is
// lost and when it is back, behind what the options before it do then.
func (s *Service) watchData(o *nats.Options) error {
	lost, back := o.DisconnectedErrCB, o.ReconnectedCB
	o.DisconnectedErrCB = func(nc *nats.Conn, err error) {
		if lost != nil {
			lost(nc, err)
		}
		s.answers.each((*pool.Pool).ConnectionLost)
	}
	o.ReconnectedCB = func(nc *nats.Conn) {
		if back != nil {
			back(nc)
		}
		s.answers.each((*pool.Pool).ConnectionBack)
	}
	return nil
}
