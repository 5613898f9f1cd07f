package drill

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Where things are in the root of a server by this host's programs.
const (
	clonesAt    = "/clones" // the data directory, and what belongs to it, by number
	hostData    = clonesAt + "/0"
	hostSockets = "/run"
)

// inPrivate makes a root that holds this host's programs, to be read, a set's clones, to be written to, and nothing else: whoever
// wrote the set chose the server's owner, its settings, and what it runs, and its links are of the host that it came from. The owner may
// be somebody on this host too, and may not look where the clones lie.
//
// It is made on /sys, below which no clone lies. The host's root is given up (pivot_root(2)), so none of its mounts is held; then
// the root is changed once more, since whoever is not in the root of his namespace gets no user namespace (user_namespaces(7)), in
// which he could do more. Each file system in memory has the name by which its processes are found again.
const inPrivate = `set -e
umask 022
name=$1 owner=$2 programs=$3
shift 3
mount -t tmpfs -o mode=755,size=64m,nosuid,nodev "$name" /sys
mkdir /sys/host /sys/root
cd /sys/root
mkdir clones dev dev/shm etc proc run tmp
chown "$owner" run
chmod 1777 tmp
for dir in /usr /bin /sbin /lib* "$programs" /var/cache/postgresql; do
	if [ -L "$dir" ]; then
		cp -P "$dir" .
	elif [ -d "$dir" ]; then
		mkdir -p ".$dir"
		mount -o bind,ro,nosuid,nodev "$dir" ".$dir"
	fi
done
for file in alternatives group ld.so.cache localtime nsswitch.conf passwd; do
	[ ! -e "/etc/$file" ] || cp -RH "/etc/$file" etc
done
for device in null random urandom zero; do
	: >"dev/$device"
	mount --bind "/dev/$device" "dev/$device"
done
mount -t tmpfs -o mode=1777,size=1g,nosuid,nodev,noexec "$name" dev/shm
mount -t proc -o nosuid,nodev,noexec proc proc
n=0
while [ "$1" != -- ]; do
	mkdir "clones/$n"
	mount -o bind,nosuid,nodev,noexec "$1" "clones/$n"
	n=$((n + 1))
	shift
done
shift
cd ..
ln -s root/* .
pivot_root . host
umount -l host
exec chroot root "$@"
`

// privateName is that of the root of a drill's servers. There is no other one of that name.
func privateName(token string) string { return "volsnap-drill-" + token }

// bare is a program without our environment, in which names of servers and passwords may be.
func bare(env []string, argv ...string) []string {
	return slices.Concat([]string{"env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}, env, argv)
}

// asOwner is a program with the rights of the data directory's owner, and no others. It ends with its parent: setpriv sets that again
// after the change of the owner, which clears it (prctl(2), PR_SET_PDEATHSIG).
func (s *onHost) asOwner(argv ...string) []string {
	return append([]string{
		"setpriv", fmt.Sprintf("--reuid=%d", s.db.uid), fmt.Sprintf("--regid=%d", s.db.gid), "--clear-groups", "--no-new-privs",
		"--inh-caps=-all", "--bounding-set=-all", "--pdeathsig=KILL",
	}, argv...)
}

// alone is a program in a root and namespaces of its own, as the owner of the data directory. It ends when we do.
func (s *onHost) alone(argv ...string) []string {
	outside := []string{
		"setpriv", "--pdeathsig=KILL", "unshare", "--net", "--ipc", "--uts", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
		"sh", "-c", inPrivate, "sh", s.private, fmt.Sprintf("%d:%d", s.db.uid, s.db.gid), s.programs, s.db.dir,
	}
	for _, p := range s.db.parts {
		outside = append(outside, p.at)
	}
	return bare(nil, slices.Concat(outside, []string{"--"}, s.asOwner(argv...))...)
}

// beside is a program in the root of a server: so it reaches that server, and no other, whatever the server puts where its socket is.
// The working directory is to be the server's: a directory outside of the root would lead out of it.
func (s *onHost) beside(env []string, argv ...string) ([]string, error) {
	pid, err := s.postmaster()
	if err != nil {
		return nil, err
	}
	inside := []string{"nsenter", "--target", strconv.Itoa(pid), "--net", "--ipc", "--uts", "--mount", "--pid", "--root", "--wd"}
	return bare(env, slices.Concat(inside, []string{"--"}, s.asOwner(argv...))...), nil
}

// privates are the processes in roots of that name, or about to be.
func privates(name string) (pids []int) {
	found, _ := filepath.Glob("/proc/[0-9]*/mountinfo") // fails for a bad pattern only
	for _, path := range found {
		mounts, err := os.ReadFile(path) // none: it has ended
		if err != nil || !strings.Contains(string(mounts), " - tmpfs "+name+" ") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// isFirst reports whether a process is the first of a process namespace, in which it is called 1.
func isFirst(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if names, ok := strings.CutPrefix(line, "NSpid:"); ok {
			all := strings.Fields(names)
			return len(all) > 1 && all[len(all)-1] == "1"
		}
	}
	return false
}

func isServer(pid int) bool {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return err == nil && strings.TrimSpace(string(name)) == "postgres"
}

// endPrivates kills what runs in roots of that name.
func endPrivates(ctx context.Context, name string) error {
	again := time.NewTicker(readyPoll)
	defer again.Stop()
	for {
		pids := privates(name)
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // it is looked for again
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("end the server in %s: %w", name, ctx.Err())
		case <-again.C:
		}
	}
}
