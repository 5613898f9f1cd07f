package testhost

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Terminal is a pseudo-terminal (pty(7)) that a program of a test sits at.
type Terminal struct {
	keyboard *os.File // what is written to it is typed; what the program prints is read from it

	mu     sync.Mutex
	screen []byte
	read   sync.WaitGroup
}

// StartAt starts a program that leads a session whose terminal is a new one, and has it as its stdin, stdout and stderr.
func StartAt(t testing.TB, cmd *exec.Cmd) *Terminal {
	t.Helper()
	keyboard, tty, err := openTerminal()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // of its descriptor 0
	err = cmd.Start()
	_ = tty.Close()
	if err != nil {
		_ = keyboard.Close()
		t.Fatal(err)
	}
	term := &Terminal{keyboard: keyboard}
	term.read.Go(term.watch)
	t.Cleanup(func() {
		_ = keyboard.Close() // hangs up
		term.read.Wait()
	})
	return term
}

func openTerminal() (keyboard, tty *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	keyboard = os.NewFile(uintptr(fd), "/dev/ptmx")
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		_ = keyboard.Close()
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	return keyboard, tty, nil
}

// watch reads until the last who has the terminal open has closed it, which is EIO, or it is hung up.
func (term *Terminal) watch() {
	buf := make([]byte, 4096)
	for {
		n, err := term.keyboard.Read(buf)
		term.mu.Lock()
		term.screen = append(term.screen, buf[:n]...)
		term.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Type types; "\x03" is Ctrl-C.
func (term *Terminal) Type(t testing.TB, keys string) {
	t.Helper()
	if _, err := term.keyboard.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// Screen is all that was printed until now, with what was typed and echoed.
func (term *Terminal) Screen() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return string(term.screen)
}
