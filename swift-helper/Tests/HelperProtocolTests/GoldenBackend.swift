import Foundation
@testable import HelperProtocol

/// The backend of the golden transcripts: one key, that of RFC 6979 A.2.5, and the one signature that stands there. A
/// blob "DOMAIN NUMBER" is refused with that error.
final class GoldenBackend: EnclaveBackend {
    static let blob = Data("golden blob".utf8)
    static let publicKey = Data(
        base64Encoded: "BGD+1LolWp0xyWHrdMY1bWjASbiSO2H6bOZpYi5g8p+2eQP+EAi4vJmkGunpVii8ZPLxsgwtfp9Rd6PClNRGIpk=")!
    static let message = Data("sample".utf8)
    static let signature = Data(
        base64Encoded: "79SLKqy2qP0RQN2c1F6B1p0sh3tWqvmRw00OqE6vNxb3yxyULWV8QdQ2x6G24p9l8+kA27mv9AZNxKsvhDrNqA==")!

    let isAvailable: Bool
    let os = "golden 1.0"
    let arch = "golden"

    init(isAvailable: Bool = true) {
        self.isAvailable = isAvailable
    }

    func generate() throws -> NewKey {
        NewKey(blob: Self.blob, publicKey: Self.publicKey)
    }

    func publicKey(of blob: Data) throws -> Data {
        try require(blob)
        return Self.publicKey
    }

    func beginSigning(with blob: Data) throws -> Signing {
        try require(blob)
        return GoldenSigning()
    }

    private func require(_ blob: Data) throws {
        if blob == Self.blob { return }
        let words = String(decoding: blob, as: UTF8.self).split(separator: " ")
        let number = words.count == 2 ? Int(words[1]) : nil
        throw NSError(
            domain: number == nil ? "NSOSStatusErrorDomain" : String(words[0]), code: number ?? -50,
            userInfo: [NSLocalizedDescriptionKey: "no key"])
    }
}

private final class GoldenSigning: Signing {
    let publicKey = GoldenBackend.publicKey
    private var message = Data()

    func update(_ data: Data) {
        message.append(data)
    }

    func finish() throws -> Data {
        guard message == GoldenBackend.message else {
            throw HelperError(.internalError, "not the message of the transcripts")
        }
        return GoldenBackend.signature
    }
}
