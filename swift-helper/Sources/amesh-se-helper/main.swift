import Foundation
import HelperCore
import HelperProtocol

// Answers requests from standard input until it ends. Whoever reads the answers may go away at any time, which is
// told by write(2) then and not by a signal.
signal(SIGPIPE, SIG_IGN)

/// Exit codes of this program.
enum ExitCode {
    static let inputEnded: Int32 = 0
    static let lineTooLong: Int32 = 1
    static let inputFailed: Int32 = 2
    static let outputFailed: Int32 = 3
}

func write(_ line: Data) {
    line.withUnsafeBytes { bytes in
        var written = 0
        while written < bytes.count {
            let count = Darwin.write(STDOUT_FILENO, bytes.baseAddress! + written, bytes.count - written)
            if count >= 0 {
                written += count
            } else if errno != EINTR {
                exit(ExitCode.outputFailed)
            }
        }
    }
}

let dispatcher = Dispatcher(backend: SecureEnclaveBackend())
var lines = LineReader()
var buffer = [UInt8](repeating: 0, count: maxLineBytes)

while true {
    switch lines.next() {
    case .line(let line):
        write(dispatcher.answer(line))
    case .tooLong:
        write(dispatcher.answerToLongLine())
        exit(ExitCode.lineTooLong)
    case .more:
        let count = Darwin.read(STDIN_FILENO, &buffer, buffer.count)
        if count > 0 {
            lines.append(Data(buffer[0..<count]))
        } else if count == 0 {
            exit(ExitCode.inputEnded)
        } else if errno != EINTR {
            exit(ExitCode.inputFailed)
        }
    }
}
