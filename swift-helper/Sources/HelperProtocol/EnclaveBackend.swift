import Foundation

/// A key that has just been made.
public struct NewKey: Equatable {
    /// Opaque, 1 to 8192 bytes: everything that is needed to use the key again, on this Mac only.
    public let blob: Data
    /// X9.63 uncompressed point, 65 bytes.
    public let publicKey: Data

    public init(blob: Data, publicKey: Data) {
        self.blob = blob
        self.publicKey = publicKey
    }
}

/// A message that is being signed, piece by piece.
public protocol Signing: AnyObject {
    /// X9.63 uncompressed point of the key that signs, 65 bytes.
    var publicKey: Data { get }
    func update(_ data: Data)
    /// ECDSA with SHA-256 over all that came. Called once. Returns raw `r || s`, 64 bytes.
    func finish() throws -> Data
}

/// What makes and uses keys. Errors of every kind may be thrown; they are explained by `HelperError`.
public protocol EnclaveBackend {
    /// Whether there is a Secure Enclave.
    var isAvailable: Bool { get }
    /// Version of the system and the processor's name, as words of the protocol.
    var os: String { get }
    var arch: String { get }
    func generate() throws -> NewKey
    /// The public key of a blob, 65 bytes.
    func publicKey(of blob: Data) throws -> Data
    func beginSigning(with blob: Data) throws -> Signing
}
