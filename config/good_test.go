package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/config"
	"github.com/volsnap/volsnap/retention"
)

const day = 24 * time.Hour

var good = map[string]config.Config{
	"source.yaml": {
		Version: 1, StateDir: "/var/lib/volsnap", RunDir: "/run/volsnap",
		Apps: []config.App{{
			Name: "ccn", Source: &config.Source{SSH: "root@node1.example.org", Identity: "/etc/volsnap/id_ed25519"},
			Keep:      retention.Policy{Daily: 30, Monthly: 24},
			Replicate: []config.Replication{{Target: "replicas"}},
		}},
		Targets: []config.Target{{Name: "replicas", Into: []config.Into{{Kind: "zfs", Where: "tank/replicas/node1"}}}},
	},
	"ccn.yaml": {
		Version: 1, StateDir: "/var/lib/volsnap", RunDir: "/run/volsnap", Metrics: "/var/lib/prometheus/node-exporter/volsnap.prom",
		Apps: []config.App{{
			Name: "ccn", Project: "pyaleph",
			Volumes: []config.Volume{
				{Volume: "pyaleph_pyaleph-postgres"},
				{Volume: "pyaleph_pyaleph-ipfs", NotOlderThan: []string{"pyaleph_pyaleph-postgres"}},
				{Path: "/srv/pyaleph/keys"},
			},
			Freeze: config.Freeze{Limit: 10 * time.Second, StepsGiven: true, Steps: []config.Step{
				config.Postgres{Container: "pyaleph-postgres-1", User: "aleph", Database: "aleph", Timeout: 5 * time.Minute},
				config.Exec{Container: "pyaleph-redis-1", Freeze: []string{"redis-cli", "save"}, Timeout: 30 * time.Second},
				config.Pause{},
			}},
			Keep:      retention.Policy{Last: 2, Hourly: 24, Daily: 7, Weekly: 4, Monthly: 12, Within: 48 * time.Hour},
			Replicate: []config.Replication{{Target: "backup"}, {Target: "usbdisk", SkipIntermediate: true}},
			Drill: config.Drill{
				Query: "SELECT item_hash FROM files", Volume: "pyaleph_pyaleph-ipfs", Content: "sample", Timeout: 10 * time.Minute,
			},
		}},
		Targets: []config.Target{
			{Name: "backup", SSH: "volsnap@backup.example.org", Identity: "/etc/volsnap/id_ed25519", Bandwidth: 50 << 20},
			{Name: "usbdisk", Into: []config.Into{{Kind: "btrfs", Where: "/mnt/usb/volsnap"}}},
		},
	},
	"minimal.yaml": {
		Version: 1, StateDir: "/var/lib/volsnap", RunDir: "/run/volsnap",
		Apps: []config.App{{
			Name: "blog", Project: "blog",
			Freeze: config.Freeze{Limit: 10 * time.Second, Steps: []config.Step{config.Pause{}}},
		}},
	},
	"path.yaml": {
		Version: 1, StateDir: "/var/lib/volsnap", RunDir: "/run/volsnap",
		Apps: []config.App{{
			Name: "keys", Volumes: []config.Volume{{Path: "/srv/my keys/node 1"}},
			Freeze: config.Freeze{Limit: 10 * time.Second, StepsGiven: true},
			Keep:   retention.Policy{Daily: 30, Monthly: -1, Within: 7 * day},
		}},
	},
	"two-apps.yaml": {
		Version: 1, StateDir: "/srv/volsnap/state", RunDir: "/run/volsnap-two",
		Apps: []config.App{
			{
				Name: "shop", Project: "shop",
				Volumes: []config.Volume{
					{Volume: "shop_db", NotOlderThan: []string{"shop_files"}},
					{Volume: "shop_files", NotOlderThan: []string{"shop_db"}},
				},
				Freeze: config.Freeze{Limit: 2 * time.Second, StepsGiven: true, Steps: []config.Step{
					config.Postgres{Container: "shop-db-1", User: "postgres", Database: "postgres", Timeout: 5 * time.Minute},
					config.Pause{Containers: []string{"shop-web-1", "shop-worker-1"}},
					config.Pause{Containers: []string{"shop-db-1"}},
				}},
				Keep: retention.Policy{Daily: 14},
			},
			{
				Name: "archive", Volumes: []config.Volume{{Path: "/srv/archive"}},
				Freeze: config.Freeze{Limit: 10 * time.Second, Steps: []config.Step{config.Pause{}}},
				Keep:   retention.Policy{Weekly: 8, Within: 14 * day},
			},
		},
	},
	"redis.yaml": {
		Version: 1, StateDir: "/var/lib/volsnap", RunDir: "/run/volsnap",
		Apps: []config.App{{
			Name: "cache", Volumes: []config.Volume{{Volume: "cache_redis"}},
			Freeze: config.Freeze{Limit: 500 * time.Millisecond, StepsGiven: true, Steps: []config.Step{config.Exec{
				Container: "cache-redis-1",
				Freeze:    []string{"sh", "-c", "redis-cli config set save '' && redis-cli save"},
				Thaw:      []string{"redis-cli", "config", "set", "save", "3600 1 300 100 60 10000"},
				Timeout:   time.Minute,
			}}},
			Keep: retention.Policy{Last: 3, Hourly: 12},
		}},
	},
}

func goodFiles(t testing.TB) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(path)] = string(data)
	}
	return files
}

func TestGood(t *testing.T) {
	files := goodFiles(t)
	if len(files) != len(good) {
		t.Errorf("testdata/good holds %d files, the test knows %d", len(files), len(good))
	}
	for name, want := range good {
		t.Run(name, func(t *testing.T) {
			got, err := config.Load(filepath.Join("testdata/good", name))
			if err != nil {
				t.Fatal(err)
			}
			for i, a := range want.Apps {
				if a.Drill == (config.Drill{}) {
					want.Apps[i].Drill = config.Drill{Content: "sample", Timeout: 10 * time.Minute}
				}
			}
			if diff := cmp.Diff(&want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			for how, text := range map[string]string{
				"CRLF":        strings.ReplaceAll(files[name], "\n", "\r\n"),
				"BOM":         "\ufeff" + files[name],
				"marked":      "# comment\n---\n" + files[name] + "...\n",
				"no last LF":  strings.TrimRight(files[name], "\n"),
				"many spaces": strings.ReplaceAll(files[name], "\n", "   \n"),
			} {
				again, err := config.Parse(name, []byte(text))
				if err != nil {
					t.Errorf("%s: %v", how, err)
				} else if diff := cmp.Diff(got, again); diff != "" {
					t.Errorf("%s: (-want +got)\n%s", how, diff)
				}
			}
		})
	}
}

// The document shows the files themselves, so that what people copy is what is tested.
func TestDocumentHoldsTheExamples(t *testing.T) {
	doc, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range goodFiles(t) {
		if !strings.Contains(string(doc), "```yaml\n"+text+"```\n") {
			t.Errorf("docs/configuration.md does not show testdata/good/%s as it is", name)
		}
	}
}
