import Foundation
import XCTest
@testable import HelperProtocol

final class ErrorCodeTests: XCTestCase {
    func testAnErrorWithoutAMeaningIsTheFallback() {
        let error = NSError(domain: "CryptoKit.CryptoKitError", code: 3)
        XCTAssertEqual(HelperError(explaining: error, fallback: .internalError).code, .internalError)
        XCTAssertEqual(HelperError(explaining: error, fallback: .badBlob).code, .badBlob)
    }

    func testAnErrorOfOursStaysAsItIs() {
        let error = HelperError(.accessDenied, "no", status: 1, domain: "here")
        XCTAssertEqual(HelperError(explaining: error, fallback: .badBlob), error)
    }

    func testWhatIsAnsweredIsShortAndPlain() {
        let error = HelperError(.badBlob, String(repeating: "a", count: 1000), domain: "a\n\"\u{1b}é")
        XCTAssertEqual(error.message.count, 500)
        XCTAssertEqual(error.domain, "a____")
        XCTAssertEqual(HelperError(.badBlob, "", domain: "").domain, "none")
    }
}
