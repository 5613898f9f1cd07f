package drivertest

import (
	"bytes"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

var hostileCases = []replicaCase{
	{"an announcement that nobody could mean is refused", func(s *replicas) {
		one, two := s.small("announced")
		first := s.replicate(one, nil)
		stream := s.stream(two, &one)
		for name, spoil := range map[string]func(*driver.ReceiveRequest){
			"no set":             func(r *driver.ReceiveRequest) { r.Snapshot.Set = "" },
			"set that climbs":    func(r *driver.ReceiveRequest) { r.Snapshot.Set = "../x-20261121T020000.123Z" },
			"set with a newline": func(r *driver.ReceiveRequest) { r.Snapshot.Set += "\n" },
			"set that is an option": func(r *driver.ReceiveRequest) {
				r.Snapshot.Set = "-F-20261121T020000.123Z"
			},
			"member 0":           func(r *driver.ReceiveRequest) { r.Snapshot.Member = 0 },
			"member 3 of 2":      func(r *driver.ReceiveRequest) { r.Snapshot.Member, r.Snapshot.Of = 3, 2 },
			"negative":           func(r *driver.ReceiveRequest) { r.Snapshot.Member, r.Snapshot.Of = -1, -1 },
			"another kind":       func(r *driver.ReceiveRequest) { r.Snapshot.Dataset.Kind = "floppy" },
			"no kind":            func(r *driver.ReceiveRequest) { r.Snapshot.Dataset.Kind = "" },
			"no dataset":         func(r *driver.ReceiveRequest) { r.Snapshot.Dataset.Name = "" },
			"no GUID":            func(r *driver.ReceiveRequest) { r.Snapshot.GUID = "" },
			"GUID that climbs":   func(r *driver.ReceiveRequest) { r.Snapshot.GUID = "../../" + r.Snapshot.GUID },
			"GUID, zero byte":    func(r *driver.ReceiveRequest) { r.Snapshot.GUID += "\x00" },
			"base that climbs":   func(r *driver.ReceiveRequest) { r.Base = "../" + r.Base },
			"base is an option":  func(r *driver.ReceiveRequest) { r.Base = "-F" },
			"base is itself":     func(r *driver.ReceiveRequest) { r.Base = r.Snapshot.GUID },
			"token of nothing":   func(r *driver.ReceiveRequest) { r.Resume = "../../../etc/passwd" },
			"volume that climbs": func(r *driver.ReceiveRequest) { r.Snapshot.Volumes = []driver.Volume{{Name: "v", Path: "../x"}} },
			"too much to note": func(r *driver.ReceiveRequest) {
				r.Snapshot.Volumes = []driver.Volume{{Name: strings.Repeat("v", 4<<20), Path: "."}}
			},
		} {
			req := announce(two, &one)
			spoil(&req)
			if got, err := s.r.Receive(s.ctx, req, bytes.NewReader(stream)); err == nil {
				s.Errorf("%s: received %+v", name, got)
			}
			s.unchanged(name, []driver.Snapshot{first})
		}
		s.same(s.replicate(two, &one), two, false)
	}},
	{"what a source says of pins, names and seals counts for nothing", func(s *replicas) {
		one, _ := s.small("boasting")
		req := announce(one, nil)
		req.Snapshot.Name, req.Snapshot.Pins, req.Snapshot.Sealed = "/etc/passwd", []string{"mine"}, true
		req.Snapshot.Order, req.Snapshot.Fault, req.Snapshot.Received = 1<<63, "is writable", one.Taken.AddDate(10, 0, 0)
		got, err := s.r.Receive(s.ctx, req, bytes.NewReader(s.stream(one, nil)))
		s.must(err)
		if got.Sealed || len(got.Pins) > 0 || got.Fault != "" || got.Name == req.Snapshot.Name || got.Order == 1<<63 ||
			got.Received.After(one.Taken.AddDate(1, 0, 0)) {
			s.Errorf("the replica is %+v", got)
		}
		s.same(got, one, false)
	}},
	{"a snapshot of another dataset's name does not reach it", func(s *replicas) {
		one, _ := s.small("reach")
		for _, name := range []string{"/", "/..", "/a/../../b", "a/../..", "//x", "/x\ny", "/" + strings.Repeat("y", 5000), "-x", "/.volsnap"} {
			req := announce(one, nil)
			req.Snapshot.Dataset.Name = name
			got, err := s.r.Receive(s.ctx, req, bytes.NewReader(s.stream(one, nil)))
			if err != nil {
				s.unchanged(name, nil)
				continue
			}
			s.equal("listed", s.here(), []driver.Snapshot{got})
			s.must(s.r.Destroy(s.ctx, got))
		}
	}},
}
