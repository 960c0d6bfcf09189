import Foundation
import XCTest
@testable import HelperProtocol

final class LineReaderTests: XCTestCase {
    func testLinesInPieces() {
        var reader = LineReader()
        XCTAssertEqual(reader.next(), .more)
        reader.append(Data("ab".utf8))
        XCTAssertEqual(reader.next(), .more)
        reader.append(Data("c\n\nd".utf8))
        XCTAssertEqual(reader.next(), .line(Data("abc".utf8)))
        XCTAssertEqual(reader.next(), .line(Data()))
        XCTAssertEqual(reader.next(), .more)
        reader.append(Data("\n".utf8))
        XCTAssertEqual(reader.next(), .line(Data("d".utf8)))
    }

    func testLongestLine() {
        var reader = LineReader()
        let line = Data(repeating: 0x61, count: maxLineBytes - 1)
        reader.append(line)
        XCTAssertEqual(reader.next(), .more)
        reader.append(Data("\nrest".utf8))
        XCTAssertEqual(reader.next(), .line(line))
        XCTAssertEqual(reader.next(), .more)
    }

    func testLineThatIsTooLong() {
        var open = LineReader()
        open.append(Data(repeating: 0x61, count: maxLineBytes))
        XCTAssertEqual(open.next(), .tooLong)
        var ended = LineReader()
        ended.append(Data(repeating: 0x61, count: maxLineBytes) + Data("\n".utf8))
        XCTAssertEqual(ended.next(), .tooLong)
    }
}
