package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestOnlyOKIsHealthy(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 204, 404, 503} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
		}))
		if err := ask(srv.URL); (err == nil) != (status == http.StatusOK) {
			t.Errorf("status %d: %v", status, err)
		}
		srv.Close()
		if ask(srv.URL) == nil {
			t.Error("nobody answers, and that is taken for healthy")
		}
	}
}
